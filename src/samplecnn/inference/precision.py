"""Benchmark that selects the precision of inference: fp32 or bfloat16, whichever is faster on this machine."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from samplecnn.inference.base import Engine
from samplecnn.interop.keras.description import network
from samplecnn.interop.keras.weights import WEIGHTS, module_name, weight_shapes
from samplecnn.models.config import ModelConfig
from samplecnn.models.graph import Graph
from samplecnn.models.stored import StoredModel
from samplecnn.system.timing import best_rates
from samplecnn.task import Task

SEGMENTS, WINDOW = 8, 3**8  # of the benchmark: in total about as long as one window of MagnaTagATune


def measure(opener: Callable[[Graph, str], Engine]) -> Mapping[str, float]:
    """Segments per CPU second of an engine in fp32 and in bf16, on a network of default width with random weights.

    Args:
        opener: opens the engine for a network in a precision.
    """
    config = ModelConfig(block="se", num_blocks=7, num_classes=10)
    net = random_model(config, Task("noise", tuple(map(str, range(10))), window=WINDOW)).fold()
    segments = np.random.default_rng(1).normal(size=(SEGMENTS, WINDOW)).astype(np.float32)
    engines = {precision: opener(net, precision) for precision in ("fp32", "bf16")}
    try:
        return best_rates({precision: partial(_infer, engine, segments) for precision, engine in engines.items()})
    finally:
        for engine in engines.values():
            engine.close()


def _infer(engine: Engine, segments: np.ndarray) -> int:
    return len(engine.infer(segments))


def random_model(config: ModelConfig, task: Task, seed: int = 0) -> StoredModel:
    """An untrained model with random weights, scaled so that activations have a typical range."""
    layers = network(config, task.activation)
    shapes, random = weight_shapes(layers), np.random.default_rng(seed)
    values = {}
    for layer in layers:
        for weight, shape in zip(WEIGHTS.get(layer.kind, ()), shapes[layer.name], strict=True):
            value: np.ndarray = random.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape).astype(np.float32)
            if layer.kind == "BatchNormalization":
                value = np.abs(value) if weight.ours in ("weight", "running_var") else value / 10
            values[f"{module_name(layer.name)}.{weight.ours}"] = value.transpose(weight.axes)
    return StoredModel(values, config, task)
