"""One HTML file that tags and listens in a browser: the page of `samplecnn serve` with the model and its engine inside.

The engine is a forward pass in JavaScript (`net.js`) whose convolutions run as WebAssembly SIMD (`kernel.js`). It needs
nothing but the file, and a content security policy keeps the page from sending anything.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplecnn import __version__
from samplecnn.errors import UsageError
from samplecnn.interop.html.check import compare, expected_scores
from samplecnn.interop.html.layers import described
from samplecnn.models.config import ModelConfig
from samplecnn.models.graph import Graph
from samplecnn.system.files import written_aside

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN
    from samplecnn.models.stored import StoredModel

SOURCES = (files("samplecnn") / "interop" / "html", files("samplecnn") / "serving" / "page")
LISTENING = ("threshold", "smooth", "background_odds", "refractory", "settle")  # of an operating point
IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.js";\n', re.MULTILINE)
EXPORT = re.compile(r"^export ((?:async )?function\*? |class |const )([\w$]+)", re.MULTILINE)


def write_html(model: "SampleCNN | StoredModel", path: Path) -> None:
    """Writes an .html file.

    Raises:
        UsageError: the page cannot compute such a network.
        SampleCNNError: what the file computes differs from the NumPy engine; nothing is written.
    """
    from samplecnn.models.folding import fold
    from samplecnn.models.stored import StoredModel, card_texts

    net = model.fold() if isinstance(model, StoredModel) else fold(model)
    problem = unsupported(net.config)
    if problem:
        raise UsageError(f"--to html cannot represent {problem}; export it to onnx")
    with written_aside(path) as aside:
        text = html(net, card_texts(model), listening_rules(getattr(model, "listening", None)))
        aside.write_text(text, encoding="utf-8", newline="\n")
        compare(aside)


def unsupported(config: ModelConfig) -> str | None:
    """The part of an architecture that a page cannot compute."""
    logmel = config.logmel
    if logmel is not None and logmel.frame & (logmel.frame - 1):
        return f"log-mel frames of {logmel.frame} samples, which is not a power of 2"
    return None


def listening_rules(point: Any) -> dict[str, float]:
    """What `detector.js` takes of an operating point of `samplecnn listen`."""
    found = {name: point.get(name) for name in LISTENING} if isinstance(point, dict) else {}
    return {name: value for name, value in found.items() if isinstance(value, int | float) and value >= 0}


def html(net: Graph, card: Mapping[str, str], listening: Mapping[str, float]) -> str:
    """The text of the file.

    Args:
        net: the network.
        card: `models.stored.card_texts` of the model, which are shown.
        listening: rules of its live detection that differ from the default, and the threshold.
    """
    layers, weights = described(net)
    task = net.task
    model = {
        "name": task.name,
        "about": card.get("about", ""),
        "licence": card.get("licence", ""),
        "samplecnn": __version__,
        "architecture": net.config.signature,
        "kind": task.kind,
        "classes": list(task.classes),
        "thresholds": list(task.class_thresholds),
        "sample_rate": task.sample_rate,
        "window": task.window,
        "padding": task.padding,
        "listening": dict(listening),
        "mean": task.mean,
        "std": task.std,
        "layers": layers,
        "check": expected_scores(net),
    }
    script = bundle("offline")
    data = {
        "model-data": _json(model),
        "weights": base64.b64encode(weights.astype("<f4").tobytes()).decode("ascii"),
        "worker": bundle("worker"),
        "capture": source("capture.js"),
    }
    blocks = "".join(f'<script type="text/plain" id="{name}">{text}</script>\n' for name, text in data.items())
    style = source("page.css")
    policy = (
        f"default-src 'none'; script-src 'sha256-{_sha256(script)}' 'wasm-unsafe-eval' blob: data:; worker-src blob:; "
        f"style-src 'sha256-{_sha256(style)}'; img-src data:; media-src blob:; base-uri 'none'; form-action 'none'"
    )
    page = source("index.html")
    charset = '<meta charset="utf-8">\n'
    replaced = {
        charset: f'{charset}<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
        '<link rel="stylesheet" href="page.css">\n': f"<style>{style}</style>\n",
        '<script type="module" src="main.js"></script>\n': "",
        "</body>": f'{blocks}<script type="module">{script}</script>\n</body>',
    }
    for old, new in replaced.items():
        assert page.count(old) == 1, old
        page = page.replace(old, new)
    return page


def bundle(entry: str) -> str:
    """A module and what it imports as one script: each module becomes a function that returns its exports."""
    done: dict[str, str] = {}

    def add(name: str) -> None:
        if name in done:
            return
        text = source(f"{name}.js")
        done[name] = ""  # an import cycle ends here
        for _, other in IMPORT.findall(text):
            add(other)
        exports = ", ".join(exported for _, exported in EXPORT.findall(text))
        body = EXPORT.sub(r"\1\2", IMPORT.sub(r"const \1 = $\2;\n", text))
        del done[name]
        done[name] = f"const ${name} = (() => {{\n{body}return {{ {exports} }};\n}})();\n"

    add(entry)
    return '"use strict";\n' + "".join(done.values())


def source(name: str) -> str:
    """The text of one of the page's files."""
    folder = next(folder for folder in SOURCES if (folder / name).is_file())
    return (folder / name).read_text(encoding="utf-8")


def _json(values: dict[str, Any]) -> str:
    """JSON that may stand in a script element."""
    return json.dumps(values, ensure_ascii=False).replace("<", "\\u003c")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
