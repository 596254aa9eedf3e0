"""Which precision inference takes on this machine: fp32 or bfloat16, whichever is faster in an engine that has both."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from samplecnn.inference.base import Engine
from samplecnn.interop.keras.description import network
from samplecnn.interop.keras.weights import WEIGHTS, module_name, weight_shapes
from samplecnn.models.config import ModelConfig
from samplecnn.models.graph import Graph, fold_values
from samplecnn.system.timing import best_rates
from samplecnn.task import Task

SEGMENTS, WINDOW = 8, 3**8  # of the measurement: together about as long as one window of MagnaTagATune


def measure(opener: Callable[[Graph, str], Engine]) -> Mapping[str, float]:
    """Segments per CPU second of an engine in fp32 and in bf16, on a network of the usual width with random weights.

    Args:
        opener: opens the engine for a network in a precision.
    """
    net, segments = _random_network(), np.random.default_rng(1).normal(size=(SEGMENTS, WINDOW)).astype(np.float32)
    engines = {precision: opener(net, precision) for precision in ("fp32", "bf16")}
    try:
        return best_rates({precision: partial(_infer, engine, segments) for precision, engine in engines.items()})
    finally:
        for engine in engines.values():
            engine.close()


def _infer(engine: Engine, segments: np.ndarray) -> int:
    return len(engine.infer(segments))


def _random_network() -> Graph:
    config = ModelConfig(block="se", num_blocks=7, num_classes=10)
    task = Task("noise", tuple(map(str, range(config.num_classes))), window=WINDOW)
    layers = network(config, task.activation)
    shapes, random = weight_shapes(layers), np.random.default_rng(0)
    values = {}
    for layer in layers:
        for weight, shape in zip(WEIGHTS.get(layer.kind, ()), shapes[layer.name], strict=True):
            scale = 1 / np.sqrt(np.prod(shape[:-1]))
            value = np.abs(random.normal(0, scale, shape)) if len(shape) == 1 else random.normal(0, scale, shape)
            values[f"{module_name(layer.name)}.{weight.ours}"] = value.transpose(weight.axes)
    return fold_values(values, config, task)
