"""Benchmark of inference: samplecnn on each engine, the plain network on each runtime."""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from samplecnn.bench.matmul import forward_flops, matrix_limit, matrix_rate
from samplecnn.bench.plain import PlainSampleCNN
from samplecnn.bench.rounds import MIN_TURN_SECONDS, Comparison, Contender
from samplecnn.bench.scale import measure_scale, scale_result
from samplecnn.bench.steps import architecture, gpu_of
from samplecnn.hardware import dtype
from samplecnn.inference import ENGINES, installed, open_engine
from samplecnn.inference.registry import decide_precision
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.system.allocator import keep_freed_memory
from samplecnn.task import Task

MANY_SEGMENTS = 10**6  # for which engines are opened, so that they are chosen by speed, not by start-up time
MIN_TURN_SEGMENTS = 16  # per call of a contender, rounded up to whole batches


def bench_infer(
    block: str = "se",
    multi: bool = False,
    window: int = 59049,
    num_classes: int = 50,
    features: int = 128,
    batch_size: int = 23,
    rounds: int = 5,
    device: str = "cpu",
    tensorflow: str | None = None,
) -> dict[str, Any]:
    """Measures probabilities of standardised segments, from arrays in memory to arrays in memory.

    Args:
        block, multi, num_classes, features: the architecture; `window` (samples) determines the number of blocks.
        batch_size: segments per call.
        rounds: number of rounds, over which medians are taken.
        device: "cpu", or "cuda", on which only PyTorch is measured.
        tensorflow: a Python interpreter with TensorFlow; None: without TensorFlow.

    Returns:
        A dict for JSON: `unit`, `contenders` with their rates, `limit`, `machine`, `settings`.
    """
    keep_freed_memory()  # as in tagging; plain PyTorch is faster with it too
    target = torch.device(device)
    config = architecture(block, multi, window, num_classes, features)
    best = decide_precision("torch", "auto", target)
    calls = max(-(-MIN_TURN_SEGMENTS // batch_size), 1)
    segments = np.random.default_rng(0).standard_normal((batch_size, window)).astype(np.float32)
    with Comparison("infer", "segments/s") as run:
        run.contenders += [
            *_ours(config, segments, calls, target),
            *_plain_torch(config, segments, calls, target, best),
        ]
        if target.type == "cpu":
            run.contenders += [*_plain_onnx(config, segments, calls), *_plain_openvino(config, segments, calls, best)]
            for name in ("openvino", "onnxruntime"):
                if name in sys.modules:
                    run.machine[name] = sys.modules[name].__version__
            if tensorflow is not None:
                network = json.dumps({**config.to_dict(), "widths": config.widths})
                for precision in dict.fromkeys(("fp32", best)):
                    program = ("tensorflow_infer.py", precision, batch_size, calls, window, network)
                    run.add_peer(f"TensorFlow, {precision}", tensorflow, *program)
        else:
            run.machine |= gpu_of(target)
        turn = MIN_TURN_SECONDS if target.type == "cpu" else 0.0
        rate = run.measure(rounds, lambda: matrix_rate(dtype(best), target), turn)
    settings = {"window": window, "batch_size": batch_size, "rounds": rounds, "device": str(target)}
    return run.result(matrix_limit(best, rate, forward_flops(config, window)), {**settings, **config.to_dict()})


def scale_infer(
    factors: Sequence[int] = (1, 2, 4, 8),
    block: str = "se",
    multi: bool = False,
    window: int = 59049,
    num_classes: int = 50,
    features: int = 128,
    batch_size: int = 23,
    rounds: int = 5,
    device: str = "cpu",
) -> dict[str, Any]:
    """How time and peak memory of samplecnn's inference grow with the number of segments, processed in batches.

    Args:
        factors: multiples of the smallest work, `MIN_TURN_SEGMENTS` rounded up to whole batches.
        rounds: rounds of timing.

    Returns:
        A dict for JSON: `unit`, `points` of `work` (segments), `seconds` of every round and `peak_rss` in bytes.
    """
    keep_freed_memory()
    config, target = architecture(block, multi, window, num_classes, features), torch.device(device)
    calls = max(-(-MIN_TURN_SEGMENTS // batch_size), 1)
    engine = open_engine(_model(config).to(target), segments=calls * batch_size * max(factors))
    segments = np.random.default_rng(0).standard_normal((batch_size, window)).astype(np.float32)
    runs = {
        factor * calls * batch_size: _turn(lambda: engine(segments), factor * calls, batch_size) for factor in factors
    }
    settings = {
        "engine": engine.name,
        "precision": engine.precision,
        "window": window,
        "batch_size": batch_size,
        "rounds": rounds,
        "device": str(target),
        **config.to_dict(),
    }
    return scale_result("infer", "segments", measure_scale(runs, rounds, "bench infer --scale"), settings)


def _model(config: ModelConfig) -> SampleCNN:
    classes = tuple(f"class {number}" for number in range(config.num_classes))
    torch.manual_seed(0)
    return SampleCNN(config, Task("bench", classes, "multilabel", 22050, 59049)).eval()


def _ours(config: ModelConfig, segments: np.ndarray, calls: int, device: torch.device) -> list[Contender]:
    model = _model(config).to(device)
    found = []
    for name in installed():
        kind = ENGINES[name]
        if device.type in kind.devices:
            fast = decide_precision(name, "auto", device)
            for precision in dict.fromkeys(("fp32", fast)):
                engine = open_engine(model, name, precision, segments=MANY_SEGMENTS)
                run = _turn(lambda engine=engine: engine(segments), calls, len(segments))  # type: ignore[misc]
                found.append(Contender(f"samplecnn, {name}, {precision}", run, ours=True))
    return found


def _turn(infer: Callable[[], Any], calls: int, segments: int) -> Callable[[], int]:
    def run() -> int:
        for _ in range(calls):
            infer()
        return calls * segments

    return run


def _plain_torch(
    config: ModelConfig, segments: np.ndarray, calls: int, device: torch.device, best: str
) -> list[Contender]:
    network = PlainSampleCNN(config).eval().to(device)

    def infer(autocast: bool) -> np.ndarray:
        mixed = torch.autocast(device.type, torch.bfloat16) if autocast else nullcontext()
        with torch.inference_mode(), mixed:
            logits = network(torch.from_numpy(segments).to(device))
        return torch.sigmoid(logits.float()).cpu().numpy()

    found = [Contender("plain PyTorch, fp32", _turn(lambda: infer(False), calls, len(segments)))]
    if best == "bf16":
        found.append(Contender("plain PyTorch, bf16 autocast", _turn(lambda: infer(True), calls, len(segments))))
    return found


def _with_sigmoid(config: ModelConfig) -> nn.Module:
    return nn.Sequential(PlainSampleCNN(config), nn.Sigmoid()).eval()


def _plain_onnx(config: ModelConfig, segments: np.ndarray, calls: int) -> list[Contender]:
    """The plain network, exported by PyTorch and run by ONNX Runtime with default settings."""
    import tempfile
    import warnings

    if "onnx" not in installed():
        return []
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # it recommends another exporter, which needs an additional package
        file, example = Path(folder) / "plain.onnx", (torch.from_numpy(segments),)
        torch.onnx.export(_with_sigmoid(config), example, file, dynamo=False, input_names=["wave"])
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    run = _turn(lambda: session.run(None, {"wave": segments}), calls, len(segments))
    return [Contender("plain network, ONNX Runtime, fp32", run)]


def _plain_openvino(config: ModelConfig, segments: np.ndarray, calls: int, best: str) -> list[Contender]:
    """The plain network, converted and compiled by OpenVINO with default settings.

    Uses the frontend of `openvino.convert_model`, because that function sends telemetry.
    """
    if "openvino" not in installed():
        return []
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    decoder = TorchScriptPythonDecoder(_with_sigmoid(config), example_input=(torch.from_numpy(segments),))
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    model.reshape([len(segments), segments.shape[1]])
    found = []
    for precision, hint in dict.fromkeys((("fp32", "f32"), (best, "bf16" if best == "bf16" else "f32"))):
        settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": str(torch.get_num_threads())}
        request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
        run = _turn(lambda request=request: request.infer([segments]), calls, len(segments))  # type: ignore[misc]
        found.append(Contender(f"plain network, OpenVINO, {precision}", run))
    return found
