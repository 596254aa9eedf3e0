"""One step of training: the same in every mode, one graph for a compiler, and unavailable modes are reported."""

import functools

import pytest
import torch

from samplecnn import kernels
from samplecnn.bench.steps import noise_task
from samplecnn.errors import SampleCNNError
from samplecnn.models import BLOCKS, ModelConfig, SampleCNN
from samplecnn.training import train
from samplecnn.training.batches import on_device, standardised, standardised_by_torch
from samplecnn.training.checkpoint import load_checkpoint
from samplecnn.training.losses import cross_entropy
from samplecnn.training.step import MODES, Step

WINDOW, CLASSES = 729, 5
TASK = noise_task(WINDOW, CLASSES)


def network(block: str = "se", **changes) -> SampleCNN:
    torch.manual_seed(0)
    settings = {"block": block, "num_blocks": 4, "num_classes": CLASSES, "features": 8, "dropout": 0.0, **changes}
    return SampleCNN(ModelConfig(**settings)).train()


def optimizer_of(model: torch.nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9, nesterov=True, fused=True)


def batch(size: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    audio = torch.randint(-8000, 8000, (size, WINDOW), generator=generator, dtype=torch.int16)
    return audio, torch.randint(0, 2, (size, CLASSES), generator=generator).float()


def trained(model: SampleCNN, step: Step, sizes: tuple[int, ...]) -> list[float]:
    optimizer = optimizer_of(model)
    return [float(step(optimizer, *batch(size, seed), 0.01 / (seed + 1))) for seed, size in enumerate(sizes)]


def test_a_step_equals_plain_pytorch():
    model, same = network(), network()
    losses = trained(model, Step(model, TASK), (4, 4, 3))
    optimizer = optimizer_of(same)
    for seed, size in enumerate((4, 4, 3)):
        audio, labels = batch(size, seed)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 / (seed + 1)
        loss = cross_entropy(same(standardised(audio, TASK)), labels, TASK)
        assert loss.item() == losses[seed]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), same.state_dict().values(), strict=True))


@pytest.mark.parametrize("mode", MODES[1:])
def test_an_unavailable_mode_is_reported_in_a_line_and_steps_run_eagerly(mode, monkeypatch):
    def no_compiler(*_, **__):
        raise RuntimeError("no compiler here\nand much more about it")

    monkeypatch.setattr(torch, "compile", lambda function, **_: no_compiler)
    model, same = network(), network()
    lines: list[str] = []
    losses = trained(model, Step(model, TASK, mode, lines.append), (4, 4, 3))
    assert losses == trained(same, Step(same, TASK), (4, 4, 3))
    (line,) = lines
    reason = "CUDA graphs are for NVIDIA GPUs" if mode != "compile" else "no compiler here"
    assert f"without {mode}" in line and reason in line and "\n" not in line
    with pytest.raises(ValueError, match="expected one of eager"):
        Step(model, TASK, "faster")


@pytest.mark.parametrize("block", BLOCKS)
def test_off_the_cpu_all_of_a_step_stays_on_the_device_and_is_one_graph_to_a_compiler(block):
    """The meta device stands for a GPU: a tensor left on the CPU, or a wait for a value, would raise."""
    model = network(block, multi=True).to("meta")
    model.compute_dtype = torch.bfloat16
    audio, labels = (values.to("meta") for values in batch(4, 0))
    explained = torch._dynamo.explain(Step(model, TASK).loss)(audio, labels)
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)
    Step(model, TASK).loss(audio, labels).backward()
    assert {value.grad.device.type for value in model.parameters()} == {"meta"}
    torch._dynamo.reset()


def test_compiled_steps_are_the_same_steps(monkeypatch):
    """As a GPU would take them, without the passes for CPUs; the last stage, which needs a C++ compiler, left out."""
    compiled = functools.partial(torch.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(kernels, "is_faster", lambda *_: False)
    monkeypatch.setattr("samplecnn.training.step.standardised", standardised_by_torch)
    monkeypatch.setattr(
        kernels, "conv", lambda x, weight, bias, normed: kernels.from_image(_conv2d(kernels.as_image(x), weight, bias))
    )
    model, same = network("res1", num_blocks=2), network("res1", num_blocks=2)
    lines: list[str] = []
    losses = trained(model, Step(model, TASK, "compile", lines.append), (4, 4, 3, 4))
    assert not lines
    assert losses == pytest.approx(trained(same, Step(same, TASK), (4, 4, 3, 4)), rel=1e-4)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, same.state_dict()[name], rtol=1e-3, atol=1e-5, msg=name)


def _conv2d(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.conv2d(x, weight.unsqueeze(3), bias, padding=(weight.shape[2] // 2, 0))


def test_batches_go_to_a_device_as_they_are_stored():
    source = [batch(3, seed) for seed in range(4)]
    moved = list(on_device(iter(source), torch.device("meta")))
    assert [audio.shape for audio, _ in moved] == [audio.shape for audio, _ in source]
    assert all(audio.dtype == torch.int16 and audio.device.type == "meta" for audio, _ in moved)
    here = list(on_device(iter(source), torch.device("cpu")))
    assert all(
        torch.equal(a, b) for pair, same in zip(here, source, strict=True) for a, b in zip(pair, same, strict=True)
    )


def test_compile_on_a_cpu_says_that_it_changes_nothing(built, tmp_path, capsys):
    small = {"recipe": "original", "block": "basic", "features": 4, "num_stages": 1, "max_epochs": 1, "batch_size": 8}
    run = train(str(built / "sounds"), data_dir=str(built / "data"), log_dir=str(tmp_path), compile=True, **small)
    assert "--compile is for GPUs" in capsys.readouterr().out
    assert load_checkpoint(run.run).options["compile"] is True


def test_a_device_without_enough_memory_ends_with_a_line(built, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nand much more")

    monkeypatch.setattr(Step, "loss", full)
    with pytest.raises(SampleCNNError, match=r"cpu does not hold a training step with a batch of 23; .* --batch-size"):
        train(
            str(built / "sounds"),
            recipe="original",
            data_dir=str(built / "data"),
            log_dir=str(tmp_path),
            block="basic",
            features=4,
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("mode", MODES)
def test_on_a_gpu_every_mode_takes_the_same_steps(mode):
    sizes = (6, 6, 6, 6, 6, 3, 6, 6)
    losses = []
    for chosen in ("eager", mode):
        model = network("se").cuda()
        lines: list[str] = []
        step, optimizer = Step(model, TASK, chosen, lines.append), optimizer_of(model)
        pairs = on_device((batch(size, seed) for seed, size in enumerate(sizes)), torch.device("cuda"))
        losses.append([float(step(optimizer, *pair, 0.01 / (i + 1))) for i, pair in enumerate(pairs)])
        assert not lines
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
