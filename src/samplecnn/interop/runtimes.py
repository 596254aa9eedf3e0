"""ONNX and OpenVINO files that need nothing of samplecnn: a waveform in, probabilities and the embedding out.

They are written node by node from the folded network, not traced. Standardisation is inside; names of the classes,
sample rate, window, thresholds and the licence of the model's card are in the metadata. Before a file gets its name, it
is run by its own runtime and compared with the NumPy engine.
"""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn import __version__
from samplecnn.audio import standardise
from samplecnn.errors import SampleCNNError
from samplecnn.extras import require
from samplecnn.inference.numpy_engine import NumpyEngine
from samplecnn.inference.onnx_engine import IR, OPSET, Nodes
from samplecnn.models.embedding import HIDDEN, embedding_size, with_embedding
from samplecnn.models.graph import Graph, run
from samplecnn.models.stored import card_texts
from samplecnn.system.files import is_regular, target_of, written_aside

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN
    from samplecnn.models.stored import StoredModel

WAVE, PROBABILITIES, EMBEDDING = "wave", "probabilities", "embedding"
# Largest difference to the NumPy engine: float32 sums in another order, over networks of up to 13 layers.
MAX_DIFFERENCE = 1e-4
MAX_RELATIVE = 1e-3  # of an embedding's value


def write_onnx(model: "SampleCNN | StoredModel", path: Path) -> None:
    """Writes an .onnx file of opset 17.

    Raises:
        MissingExtra: ONNX or ONNX Runtime is not installed.
        SampleCNNError: ONNX Runtime computes something else with it; nothing is written.
    """
    require("export to ONNX", "onnx")
    from onnx import helper

    net = exported_network(model)
    made = onnx_model(net)
    helper.set_model_props(made, metadata(net) | card_texts(model))
    data = made.SerializeToString()
    compare_outputs(net, _by_onnxruntime(data), "ONNX Runtime")
    with written_aside(path) as aside:
        aside.write_bytes(data)


def write_openvino(model: "SampleCNN | StoredModel", path: Path) -> None:
    """Writes an .xml file and, next to it, the .bin file with its weights in float32.

    Raises:
        MissingExtra: OpenVINO or ONNX, through which it is written, is not installed.
        SampleCNNError: OpenVINO computes something else with it; nothing is written.
    """
    require("export to OpenVINO", "openvino")
    require("export to OpenVINO", "onnx")
    import openvino

    net = exported_network(model)
    converted = openvino.Core().read_model(onnx_model(net).SerializeToString())
    for name, value in (metadata(net) | card_texts(model)).items():
        converted.set_rt_info(value, ["samplecnn", name])
    compare_outputs(net, _by_openvino(converted), "OpenVINO")
    weights = path.with_suffix(".bin")
    with tempfile.TemporaryDirectory() as folder:  # OpenVINO asks for names that end in .xml and .bin
        made = Path(folder) / "model.xml"
        openvino.serialize(converted, str(made), str(made.with_suffix(".bin")))
        with written_aside(path) as aside, written_aside(weights) as aside_weights:
            aside.write_bytes(made.read_bytes())
            aside_weights.write_bytes(made.with_suffix(".bin").read_bytes())
            if is_regular(path):  # killed from here on, no network is left that would read the weights of another one
                target_of(path).unlink(missing_ok=True)


def metadata(net: Graph) -> dict[str, str]:
    """What is written into a file beside the network, as texts; lists and numbers as JSON."""
    task = net.task
    values: dict[str, Any] = {
        "samplecnn": __version__,
        "architecture": net.config.signature,
        "task": task.name,
        "kind": task.kind,
        "classes": list(task.classes),
        "thresholds": list(task.class_thresholds),
        "sample_rate": task.sample_rate,
        "window": task.window,
        "padding": task.padding,
        "input": "waveform from -1 to 1, mono, at sample_rate Hz, [batch, window]",
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def onnx_model(net: Graph) -> Any:
    """An onnx.ModelProto: "wave" [batch, window] -> "probabilities" [batch, classes], "embedding" [batch, size].

    Args:
        net: the network, with an embedding.
    """
    from onnx import TensorProto, helper

    task, nodes = net.task, Nodes()
    unused = -min(net.spec.padding(task.window)[1], 0)  # samples at the end that the first convolution does not reach
    wave = WAVE
    if unused:
        bounds = [nodes.constant(np.array([value])) for value in (0, task.window - unused, 1)]
        wave = nodes.node("Slice", [wave, *bounds])
    centred = nodes.node("Sub", [wave, nodes.constant(np.array(task.mean, np.float32))])
    scaled = nodes.node("Div", [centred, nodes.constant(np.array(task.std, np.float32))])
    columns = run(net, nodes, scaled, task.window - unused)
    sizes = nodes.constant(np.array([net.classes, embedding_size(net)]))
    nodes.nodes.append(helper.make_node("Split", [columns, sizes], [PROBABILITIES, EMBEDDING], "outputs", axis=1))
    made = helper.make_graph(
        nodes.nodes,
        "samplecnn",
        [helper.make_tensor_value_info(WAVE, TensorProto.FLOAT, ["batch", task.window])],
        [
            helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["batch", net.classes]),
            helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, ["batch", embedding_size(net)]),
        ],
        nodes.constants,
    )
    whole = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="samplecnn"
    )
    helper.set_model_props(whole, metadata(net))
    return whole


def exported_network(model: "SampleCNN | StoredModel") -> Graph:
    """The folded network of a model, with the embedding that exports have."""
    from samplecnn.models.folding import fold
    from samplecnn.models.stored import StoredModel

    return with_embedding(model.fold() if isinstance(model, StoredModel) else fold(model), HIDDEN)


def _by_onnxruntime(data: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda waves: session.run([PROBABILITIES, EMBEDDING], {WAVE: waves})


def _by_openvino(model: Any) -> Any:
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def infer(waves: np.ndarray) -> list[np.ndarray]:
        found = compiled(waves)
        return [np.array(found[name]) for name in (PROBABILITIES, EMBEDDING)]

    return infer


def compare_outputs(net: Graph, infer: Any, runtime: str) -> None:
    """Compares with the NumPy engine: a window of noise, of a tone, of silence, alone and together.

    Args:
        infer: waves, float32 [batch, window] -> probabilities and embeddings.
        runtime: for the message.

    Raises:
        SampleCNNError: they differ by more than the sums of float32 in another order do.
    """
    task = net.task
    times = np.arange(task.window) / task.sample_rate
    noise = 0.3 * np.random.default_rng(0).standard_normal(task.window)
    tone = 0.5 * np.sin(2 * np.pi * 0.05 * task.sample_rate * times)
    waves = np.clip([noise, tone, 0 * tone], -1, 1).astype(np.float32)
    expected = NumpyEngine(net, "fp32").columns(standardise(waves, task))
    for part in (slice(0, 1), slice(0, 3)):
        probabilities, embedding = infer(waves[part])
        wanted = np.split(expected[part], [net.classes], axis=1)
        difference = float(np.abs(probabilities - wanted[0]).max())
        relative = float((np.abs(embedding - wanted[1]) / np.maximum(np.abs(wanted[1]), 1)).max())
        if not (difference <= MAX_DIFFERENCE and relative <= MAX_RELATIVE):
            raise SampleCNNError(
                f"{runtime} computes probabilities that differ by {difference:.2g} from samplecnn's; nothing was "
                f"written. Upgrade {runtime}, or report it with the output of `samplecnn doctor`"
            )
