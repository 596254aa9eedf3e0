"""OpenVINO engine, Intel's runtime for CPUs (the extra `openvino`): a graph of the folded network, built in memory.

The graph is built node by node, without a file, tracing or OpenVINO's converter. Each request is one segment; as many
run in parallel as there are cores, so batches of any size use the same graph.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from samplecnn.inference.arrays import Arrays
from samplecnn.inference.base import Engine
from samplecnn.models.graph import Graph, Layer, Operations, Spectrogram, Squeeze, run
from samplecnn.system.cpu import num_threads

HINTS = {"fp32": "f32", "bf16": "bf16"}  # OpenVINO's names of the precisions


class OpenVinoEngine(Engine):
    """OpenVINO on the CPU."""

    name = "openvino"

    def __init__(self, net: Graph, precision: str) -> None:
        super().__init__(net, precision)
        import openvino

        self._core = openvino.Core()
        self._queues: dict[int, Any] = {}  # by input length

    @classmethod
    def open(cls, net: Graph, precision: str, device: Any = None, few: bool = False) -> "OpenVinoEngine":
        return cls(net, precision)

    def infer(self, segments: np.ndarray) -> np.ndarray:
        queue = self._queue(segments.shape[1])
        out = np.empty((len(segments), self.width), np.float32)
        queue.set_callback(lambda request, index: np.copyto(out[index], request.get_output_tensor(0).data[0]))
        inputs = []  # shared with the requests, so they must exist until these are done
        for index in range(len(segments)):
            inputs.append(self._input(segments[index : index + 1]))
            queue.start_async(inputs[-1], index, share_inputs=True)
        queue.wait_all()
        return out

    def _input(self, wave: np.ndarray) -> np.ndarray:
        """The input of the graph. Log-mel frames are always computed in float32, and by fast Fourier transform: as a
        convolution with cosines and sines they would be most of the network's arithmetic.
        """
        first = self.net.first
        return (
            wave
            if isinstance(first, Layer)
            else Arrays().spectrogram(wave, first, self.net.spec.padding(wave.shape[1]))
        )

    def _queue(self, samples: int) -> Any:
        if samples not in self._queues:
            import openvino

            settings = {
                "INFERENCE_PRECISION_HINT": HINTS[self.precision],
                "PERFORMANCE_HINT": "THROUGHPUT",
                "NUM_STREAMS": str(num_threads()),
                "INFERENCE_NUM_THREADS": str(num_threads()),
            }
            try:
                compiled = self._core.compile_model(graph(self.net, samples), "CPU", settings)
            except RuntimeError:
                if self.precision == "fp32":
                    raise
                # On CPUs without bfloat16 OpenVINO uses float32 itself, but it ignores a limit set by
                # ONEDNN_MAX_CPU_ISA.
                settings["INFERENCE_PRECISION_HINT"] = HINTS["fp32"]
                compiled = self._core.compile_model(graph(self.net, samples), "CPU", settings)
            self._queues[samples] = openvino.AsyncInferQueue(compiled, 0)
        return self._queues[samples]

    def close(self) -> None:
        self._queues.clear()


def graph(net: Graph, samples: int) -> Any:
    """An openvino.Model: float32 [1, samples] -> probabilities [1, classes].

    For a network on log-mel frames, the input is these frames, [1, frames, bands], instead of the waveform.
    """
    import openvino

    nodes, first = Nodes(), net.first
    shape = [samples] if isinstance(first, Layer) else [net.spec.first_frames(samples), first.logmel.bands]
    wave = nodes.op.parameter([1, *shape], np.float32, name="wave")
    return openvino.Model([run(net, nodes, wave, samples)], [wave], "samplecnn")


class Nodes(Operations[Any]):
    """Adds nodes to a graph; values are tensors [1, features, 1, time]."""

    def __init__(self) -> None:
        from openvino import opset13

        self.op = opset13

    def constant(self, value: np.ndarray) -> Any:
        return self.op.constant(value)

    def first(self, wave: Any, layer: Layer, pads: tuple[int, int], relu: bool) -> Any:
        x = self.op.reshape(wave, self.op.constant(np.array([1, 1, 1, -1])), False)
        return self._conv(x, layer, layer.width, pads, relu)

    def spectrogram(self, wave: Any, first: Spectrogram, pads: tuple[int, int]) -> Any:
        """The input is the frames, [1, frames, bands]."""
        x = self.op.transpose(wave, self.op.constant(np.array([0, 2, 1])))
        return self.op.unsqueeze(x, self.op.constant(2))

    def conv(self, x: Any, layer: Layer, relu: bool) -> Any:
        return self._conv(x, layer, layer.stride, layer.padding, relu)

    def _conv(self, x: Any, layer: Layer, stride: int, pads: tuple[int, int], relu: bool) -> Any:
        """A dense layer is a convolution of width 1."""
        weight, bias = layer.weight.reshape(*layer.weight.shape[:2], 1, -1), layer.bias
        before, after = pads
        y = self.op.convolution(x, self.constant(weight), [1, stride], [0, before], [0, after], [1, 1])
        y = self.op.add(y, self.constant(bias.reshape(1, -1, 1, 1)))
        return self.op.relu(y) if relu else y

    def pool(self, x: Any, size: int) -> Any:
        return self.op.max_pool(x, [1, size], [1, 1], [0, 0], [0, 0], [1, size], "floor").output(0)

    def excite(self, x: Any, squeeze: Squeeze) -> Any:
        means = self.op.reduce_mean(x, self.op.constant(np.array([2, 3])), True)
        hidden = self._conv(means, squeeze.ex0, 1, (0, 0), True)
        factors = self._conv(hidden, squeeze.ex1, 1, (0, 0), False)
        return self.op.multiply(x, self.op.sigmoid(factors))

    def add(self, x: Any, y: Any) -> Any:
        return self.op.relu(self.op.add(x, y))

    def hidden(self, levels: Sequence[Any], head: Layer) -> Any:
        axes = self.op.constant(np.array([2, 3]))
        pooled = [self.op.reduce_max(level, axes, False) for level in levels]
        x = pooled[0] if len(pooled) == 1 else self.op.concat(pooled, 1)
        return self.op.relu(self._dense(x, head))

    def classify(self, hidden: Any, logit: Layer, softmax: bool) -> Any:
        x = self._dense(hidden, logit)
        return self.op.softmax(x, 1) if softmax else self.op.sigmoid(x)

    def average(self, x: Any) -> Any:
        return self.op.reduce_mean(x, self.op.constant(np.array([2, 3])), False)

    def columns(self, x: Any, y: Any) -> Any:
        return self.op.concat([x, y], 1)

    def _dense(self, x: Any, layer: Layer) -> Any:
        product = self.op.matmul(x, self.constant(layer.weight), False, True)
        return self.op.add(product, self.constant(layer.bias[None]))
