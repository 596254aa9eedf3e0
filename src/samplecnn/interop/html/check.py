"""Whether an exported page computes what the NumPy engine computes, on three windows: noise, a tone, silence.

The scores that are expected are in the page, which compares them with its own whenever it is opened. Here Node.js runs
the same code from the file, where it is installed.
"""

import itertools
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np

from samplecnn.audio import standardise, to_int16
from samplecnn.errors import SampleCNNError
from samplecnn.inference.numpy_engine import NumpyEngine
from samplecnn.models.graph import Graph
from samplecnn.system import log
from samplecnn.system.log import one_line

MAX_DIFFERENCE = 1e-4
SECONDS = 300
RUN = """
const text = require("fs").readFileSync(process.argv[1], "utf8");
const part = id => text.split(`<script type="text/plain" id="${id}">`)[1].split("</script>")[0];
const data = Buffer.from(part("weights"), "base64");
const weights = new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.length));
globalThis.self = globalThis;
self.postMessage = said => console.log(JSON.stringify({ ...said, difference: String(said.difference) }));
new Function(part("worker"))();
self.onmessage({ data: { kind: "open", model: JSON.parse(part("model-data")), weights } });
"""


def check_windows(window: int) -> np.ndarray:
    """Noise of a linear congruential generator, a tone, silence: float32 [3, window], as `tagger.js` makes them."""
    states = itertools.accumulate(range(window), lambda state, _: (state * 1664525 + 1013904223) % 2**32, initial=1)
    noise = np.array(list(itertools.islice(states, 1, None)), np.float64) / 2**32 - 0.5
    tone = 0.5 * np.sin(np.pi * np.arange(window) / 10)
    return np.stack([noise, tone, np.zeros(window)]).astype(np.float32)


def expected_scores(net: Graph) -> list[list[float]]:
    """The scores of the three windows by the NumPy engine, [3, classes]."""
    waves = standardise(to_int16(check_windows(net.task.window)), net.task)
    return NumpyEngine(net, "fp32").columns(waves).astype(np.float64).round(9).tolist()


def compare(path: Path) -> None:
    """Runs a page's code by Node.js; without Node.js, a line says that it was not compared.

    Raises:
        SampleCNNError: the scores differ.
    """
    node = shutil.which("node")
    if node is None:
        log.note("not compared with samplecnn here, for want of Node.js; the page compares itself when it is opened")
        return
    try:
        done = subprocess.run(
            [node, "-e", RUN, str(path)], capture_output=True, text=True, timeout=SECONDS, check=True, encoding="utf-8"
        )
        difference = float(json.loads(done.stdout)["difference"])
    except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
        lines = str(getattr(error, "stderr", None) or repr(error)).splitlines()
        said = next((line for line in lines if "Error" in line), lines[-1])
        raise SampleCNNError(f"the page does not run in Node.js ({one_line(said)}); nothing was written") from error
    if not difference <= MAX_DIFFERENCE:
        raise SampleCNNError(
            f"the page computes probabilities that differ by {difference:.2g} from samplecnn's; "
            "nothing was written. Report it with the output of `samplecnn doctor`"
        )
