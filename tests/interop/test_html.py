"""Models as one HTML file: what its code computes in Node.js, from the file alone."""

import base64
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import soundfile
import torch

from samplecnn import SampleCNN, Tagger, model_files
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.interop.export import export
from samplecnn.interop.html import check, page
from samplecnn.models.config import ModelConfig
from samplecnn.models.fitting import config_for_window
from samplecnn.models.logmel import LogMel
from samplecnn.models.stored import StoredModel
from samplecnn.task import Task
from samplecnn.zoo.packaged import packaged_names

node = pytest.mark.skipif(shutil.which("node") is None, reason="no node here; apt-get install nodejs")

# Opens the page's worker, with and without SIMD, and prints the windows of a recording and what a listener hears.
RUN = """
const fs = require("fs"), text = fs.readFileSync(process.argv[1], "utf8");
const part = id => text.split(`<script type="text/plain" id="${id}">`)[1].split("</script>")[0];
const floats = data => new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.length));
const model = JSON.parse(part("model-data")), samples = floats(fs.readFileSync(process.argv[2]));
const hop = Number(process.argv[3]), weights = floats(Buffer.from(part("weights"), "base64"));
if (process.argv[4] === "plain") delete globalThis.WebAssembly;
globalThis.self = globalThis;
const said = { moments: [] };
self.postMessage = message => {
  if (message.kind === "moment") said.moments.push({ ...message, scores: [...message.scores] });
  else if (message.kind === "tag") said.windows = message.windows.map(each => ({ ...each, scores: [...each.scores] }));
  else Object.assign(said, message);
};
new Function(part("worker"))();
self.onmessage({ data: { kind: "open", model, weights } });
self.onmessage({ data: { kind: "listen", thresholds: model.thresholds } });
for (let at = 0; at < samples.length; at += 500) {
  self.onmessage({ data: { kind: "sound", samples: samples.subarray(at, at + 500), sent: Date.now() } });
}
const tagged = self.onmessage({ data: { kind: "tag", id: 1, samples, hop } });
Promise.resolve(tagged).then(() => console.log(JSON.stringify(said)));
"""


def network(name, kind="multilabel", logit=0.05):
    """A network whose outputs depend on its input, the more the larger the weights of its last layer."""
    window = {"unaligned": 800, "logmel": 4000}.get(name, 729)
    config = {
        "se": ModelConfig("se", num_blocks=4, num_classes=3, features=12),
        "rese2-multi": ModelConfig("rese2", multi=True, num_blocks=4, num_classes=3, features=8),
        "unaligned": ModelConfig("basic", num_blocks=4, num_classes=3, features=8),
        "strided": ModelConfig("rese1", num_blocks=4, num_classes=3, features=8, pooling="strided", tail=True),
        "logmel": config_for_window(4000, 8000, frontend="logmel", num_classes=3, features=8),
    }[name]
    names = ("low", "_unknown_", "<ü> & </script>")
    task = Task("t", names, kind, 8000, window, mean=0.01, std=0.2, thresholds=(0.4, 0.5, 0.6), padding="tile")
    torch.manual_seed(1)
    model = SampleCNN(config, task)
    with torch.no_grad():
        for name, values in model.state_dict().items():
            if name.endswith("running_mean"):
                values.normal_(0, 0.1)
            elif name.endswith("running_var"):
                values.uniform_(0.5, 1.5)
            elif values.ndim > 1:
                values.normal_(0, (logit if name.startswith("logit") else 1.5) / values[0].numel() ** 0.5)
    return StoredModel.of(model)


def run(path, samples, hop, *options):
    samples.astype("<f4").tofile(path.with_suffix(".f32"))
    command = ["node", "-e", RUN, str(path), str(path.with_suffix(".f32")), str(hop), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)


@node
@pytest.mark.parametrize("name", ["se", "rese2-multi", "unaligned", "strided", "logmel"])
def test_the_page_computes_what_the_tagger_does(name, tmp_path):
    model = network(name, "multiclass" if name == "unaligned" else "multilabel")
    export(model, tmp_path / "m.html", "html")
    window, rng = model.task.window, np.random.default_rng(2)
    net, third = model.fold(), window // 3 / 8000
    runs = [(2 * window + 17, third, []), (window // 3, None, ["plain"])]
    for length, hop, options in runs + [(window * 5 // 2, None, [])] * (name == "se"):
        tagger = Tagger(net, engine="numpy", precision="fp32", hop=hop)
        wave = np.clip(0.3 * rng.standard_normal(length), -1, 1).astype(np.float32)
        expected = tagger(wave, 8000)
        assert np.ptp(expected.over_time) > 0.002  # twenty times the tolerance
        found = run(tmp_path / "m.html", wave, tagger.hop, *options)
        assert found["simd"] is not bool(options) and float(found["difference"]) < 1e-4
        np.testing.assert_allclose([each["start"] for each in found["windows"]], expected.times, atol=1e-9)
        np.testing.assert_allclose([each["end"] for each in found["windows"]], expected.ends, atol=1e-9)
        np.testing.assert_allclose([each["scores"] for each in found["windows"]], expected.over_time, atol=1e-4)


@node
@pytest.mark.parametrize("name", packaged_names())
def test_packaged_models(name, tmp_path, capsys):
    stored = model_files.load_stored(name)
    export(stored, tmp_path / "m.html", "html")
    text = (tmp_path / "m.html").read_text()
    model = json.loads(re.search('id="model-data">(.*?)</script>', text)[1])
    assert model["licence"].startswith("MIT") and model["about"]
    weights = 4 * sum(value.size for value in stored.values.values())  # bytes in float32, 4 characters for 3 of them
    assert len(text) < weights * 4 / 3 + 2e5 and "not compared" not in capsys.readouterr().err
    # The page's code has been run on three windows, and differed by less than that from the NumPy engine.
    assert check.MAX_DIFFERENCE == 1e-4 and np.ptp(model["check"], axis=0).max() > 0.01


@node
@pytest.mark.parametrize("rules", [{}, {"smooth": 4, "settle": 0.0, "refractory": 0.1, "background_odds": 1.5}])
def test_listening_hears_what_samplecnn_hears(tmp_path, rules):
    """The same events, near misses and ends, of a model whose scores wander about its thresholds."""
    from samplecnn.listening.detector import DetectorRules
    from samplecnn.listening.listener import Listener
    from samplecnn.listening.sources import RecordingSource

    model = network("se", logit=3)
    if rules:
        task = Task(**{**model.task.__dict__, "classes": ("low", "_background_", "high"), "kind": "multiclass"})
        model = type(model)(model.values, model.config, task)
    rng = np.random.default_rng(5)
    loudness = np.repeat(rng.uniform(0, 1, 40) ** 3, 400)
    wave = (loudness * np.sin(np.cumsum(np.repeat(rng.uniform(0.05, 2.5, 40), 400)))).astype(np.float32)
    soundfile.write(tmp_path / "s.wav", wave, 8000, subtype="PCM_16")
    wave = soundfile.read(tmp_path / "s.wav", dtype="float32")[0]
    limits = np.quantile(Tagger(model.fold(), engine="numpy", hop=0.01)(wave, 8000).over_time, 0.8, axis=0)
    task = Task(**{**model.task.__dict__, "thresholds": tuple(float(limit) for limit in limits)})
    point = {"threshold": 0.5, "hop": 0.01, **rules}
    model = type(model)(model.values, model.config, task, listening=point if rules else None)
    export(model, tmp_path / "m.html", "html")
    found = run(tmp_path / "m.html", wave, 729)
    listener = Listener(model.fold(), rules=DetectorRules(**rules), engine="numpy")
    moments = list(listener.listen(RecordingSource(str(tmp_path / "s.wav"), 8000)))[: len(found["moments"])]
    expected = [each.to_dict() for moment in moments for each in moment.heard]
    kinds = {"event", "end"} if rules else {"event", "near", "end"}
    assert {each["type"] for each in expected} >= kinds and len(found["moments"]) > 200
    got = [each for moment in found["moments"] for each in moment["heard"]]
    assert [(each["type"], each["label"]) for each in got] == [(each["type"], each["label"]) for each in expected]
    for name in ("time", "start", "end", "score", "threshold"):
        np.testing.assert_allclose([each[name] for each in got], [each[name] for each in expected], atol=6e-4)


def test_the_file_loads_nothing_and_its_names_are_text(tmp_path):
    export(network("se"), tmp_path / "m.html", "html")
    text = (tmp_path / "m.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:)""", text) and "https://" not in text
    assert "connect-src" not in text and "default-src 'none'" in text
    assert text.count("</script>") == 5  # of its own; the class's name holds none
    model = json.loads(re.search('id="model-data">(.*?)</script>', text)[1])
    assert model["classes"][2] == "<ü> & </script>" and model["thresholds"] == [0.4, 0.5, 0.6]
    weights = base64.b64decode(re.search('id="weights">(.*?)</script>', text)[1])
    assert len(weights) % 4 == 0 and model["layers"]["logit"]["bias"] * 4 + 12 == len(weights)


@node
def test_a_page_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    real = page.described

    def wrong(net):
        layers, weights = real(net)
        return layers, 1.1 * weights

    monkeypatch.setattr(page, "described", wrong)
    with pytest.raises(SampleCNNError, match=r"differ by 0\.\d+ from samplecnn's; nothing was written"):
        export(network("se"), tmp_path / "m.html", "html")
    monkeypatch.setattr(page, "described", lambda net: ({}, real(net)[1]))
    with pytest.raises(SampleCNNError, match=r"does not run in Node.js \(.*TypeError"):
        export(network("se"), tmp_path / "m.html", "html")
    assert list(tmp_path.iterdir()) == []


def test_without_node_a_line_says_that_it_was_not_compared(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check.shutil, "which", lambda name: None)
    export(network("se"), tmp_path / "m.html", "html")
    assert (
        "compares itself when it is opened" in capsys.readouterr().err and (tmp_path / "m.html").stat().st_size > 50_000
    )


def test_frames_that_a_page_cannot_transform():
    config = ModelConfig("se", num_blocks=2, num_classes=2, features=8, logmel=LogMel(8000, 300, 80))
    assert page.unsupported(config) == "log-mel frames of 300 samples, which is not a power of 2"
    assert page.unsupported(ModelConfig("se", num_blocks=2, num_classes=2)) is None


def test_the_wrong_ending(tmp_path):
    with pytest.raises(UsageError, match=r"\.html or \.htm"):
        export(network("se"), tmp_path / "m.txt", "html")
