"""ONNX Runtime engine, for any CPU (the extra `onnx`): a graph of the folded network, built in memory.

The graph is built node by node, for one input length and any batch size.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from samplecnn.inference.base import Engine
from samplecnn.models.embedding import embedding_size
from samplecnn.models.graph import Graph, Layer, Operations, Spectrogram, Squeeze, run
from samplecnn.models.logmel import FLOOR, basis, filters
from samplecnn.system.cpu import num_threads

# Before ONNX Runtime is imported: from 1.32 on it keeps usage data in the user's cache folder, to send them.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

OPSET, IR = 17, 8  # of 2022, supported by ONNX Runtime >= 1.12
BATCH = 8  # segments per run: larger batches exceed the caches


class OnnxEngine(Engine):
    """ONNX Runtime on the CPU, in float32."""

    name = "onnx"

    def __init__(self, net: Graph) -> None:
        super().__init__(net, "fp32")
        self._sessions: dict[int, Any] = {}  # by input length

    @classmethod
    def open(cls, net: Graph, precision: str, device: Any = None, few: bool = False) -> "OnnxEngine":
        return cls(net)

    def infer(self, segments: np.ndarray) -> np.ndarray:
        session = self._session(segments.shape[1])
        parts = [segments[start : start + BATCH] for start in range(0, len(segments), BATCH)]
        return np.concatenate([session.run(["probabilities"], {"wave": part})[0] for part in parts])

    def _session(self, samples: int) -> Any:
        if samples not in self._sessions:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = num_threads()
            options.log_severity_level = 3  # errors
            model = graph(self.net, samples).SerializeToString()
            self._sessions[samples] = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return self._sessions[samples]

    def close(self) -> None:
        self._sessions.clear()


def graph(net: Graph, samples: int) -> Any:
    """An onnx.ModelProto: "wave" float32 [batch, samples] -> "probabilities" float32 [batch, width]."""
    from onnx import TensorProto, helper

    nodes = Nodes()
    result = run(net, nodes, "wave", samples)
    nodes.node("Identity", [result], "probabilities")
    wave = helper.make_tensor_value_info("wave", TensorProto.FLOAT, ["batch", samples])
    width = net.classes + embedding_size(net)
    out = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", width])
    proto = helper.make_graph(nodes.nodes, "samplecnn", [wave], [out], nodes.constants)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


class Nodes(Operations[str]):
    """Adds nodes to a graph; a value is the name of a tensor [batch, features, 1, time]."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, inputs: Sequence[str], name: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        name = name or f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def constant(self, value: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def first(self, wave: str, layer: Layer, pads: tuple[int, int], relu: bool) -> str:
        before, after = pads
        x = self.node("Reshape", [wave, self.constant(np.array([0, 1, 1, -1]))])
        return self._conv(x, layer, relu, pads=[0, before, 0, after], strides=[1, layer.width])

    def spectrogram(self, wave: str, first: Spectrogram, pads: tuple[int, int]) -> str:
        """The Fourier transform as a convolution with cosines and sines, and the bands as a convolution of the
        powers.
        """
        logmel, (before, after) = first.logmel, pads
        x = self.node("Reshape", [wave, self.constant(np.array([0, 1, 1, -1]))])
        weight = self.constant(basis(logmel.frame)[:, None, None])
        x = self.node("Conv", [x, weight], pads=[0, before, 0, after], strides=[1, logmel.hop])
        weight = self.constant(np.tile(filters(logmel), 2)[..., None, None])
        power = self.node("Conv", [self.node("Mul", [x, x]), weight])
        x = self.node("Log", [self.node("Add", [power, self.constant(np.array(FLOOR, np.float32))])])
        scale, shift = (self.constant(value.reshape(1, -1, 1, 1)) for value in (first.scale, first.shift))
        return self.node("Add", [self.node("Mul", [x, scale]), shift])

    def conv(self, x: str, layer: Layer, relu: bool) -> str:
        before, after = layer.padding
        return self._conv(x, layer, relu, pads=[0, before, 0, after], strides=[1, layer.stride])

    def _conv(self, x: str, layer: Layer, relu: bool, **attributes: Any) -> str:
        weight = layer.weight.reshape(*layer.weight.shape[:2], 1, -1)
        y = self.node("Conv", [x, self.constant(weight), self.constant(layer.bias)], **attributes)
        return self.node("Relu", [y]) if relu else y

    def pool(self, x: str, size: int) -> str:
        return self.node("MaxPool", [x], kernel_shape=[1, size], strides=[1, size])

    def excite(self, x: str, squeeze: Squeeze) -> str:
        hidden = self._conv(self.node("GlobalAveragePool", [x]), squeeze.ex0, True)
        return self.node("Mul", [x, self.node("Sigmoid", [self._conv(hidden, squeeze.ex1, False)])])

    def add(self, x: str, y: str) -> str:
        return self.node("Relu", [self.node("Add", [x, y])])

    def hidden(self, levels: Sequence[str], head: Layer) -> str:
        pooled = [self.node("Flatten", [self.node("GlobalMaxPool", [level])]) for level in levels]
        x = pooled[0] if len(pooled) == 1 else self.node("Concat", pooled, axis=1)
        return self.node("Relu", [self._dense(x, head)])

    def classify(self, hidden: str, logit: Layer, softmax: bool) -> str:
        x = self._dense(hidden, logit)
        return self.node("Softmax", [x], axis=1) if softmax else self.node("Sigmoid", [x])

    def average(self, x: str) -> str:
        return self.node("Flatten", [self.node("GlobalAveragePool", [x])])

    def columns(self, x: str, y: str) -> str:
        return self.node("Concat", [x, y], axis=1)

    def _dense(self, x: str, layer: Layer) -> str:
        return self.node("Gemm", [x, self.constant(layer.weight), self.constant(layer.bias)], transB=1)
