"""A new kind of block is one line in BLOCKS: everything else, from training to tagging, follows from it."""

import numpy as np
import pytest
import soundfile
import torch

import samplecnn
from samplecnn.analysis import summarize
from samplecnn.analysis.layers import conv_layers
from samplecnn.bench.plain import PlainSampleCNN
from samplecnn.inference import ENGINES, open_engine
from samplecnn.inference.overlap import shared_depth
from samplecnn.models import BLOCKS, BlockSpec, ModelConfig, SampleCNN, blocks_for_window
from samplecnn.models.folding import fold
from samplecnn.task import Task

KINDS = {
    "two-convs-pool-2": BlockSpec((3, 3), pool=2),
    "wide-residual": BlockSpec((5, 3), residual=True, excites=True, pool=4, shortcut=3),
    "even": BlockSpec((2,), excites=True, pool=2),
}


@pytest.fixture(params=list(KINDS))
def block(request, monkeypatch):
    monkeypatch.setitem(BLOCKS, request.param, KINDS[request.param])
    return request.param


@pytest.fixture
def network(block):
    """A network whose batch norms have seen noise, and segments for it."""
    torch.manual_seed(0)
    task = Task("noise", ("a", "b", "c"), "multilabel", 8000, 729)
    blocks = min(blocks_for_window(729, block), 4)
    config = ModelConfig(block, multi=True, num_blocks=blocks, num_classes=3, features=16, dropout=0.0)
    model, segments = SampleCNN(config, task), torch.randn(6, 729)
    for module in model.modules():
        if hasattr(module, "running_mean"):
            module.UPDATE = 1.0  # the statistics of one batch
    with torch.no_grad():
        model.train()(segments)
    return model.eval(), segments


def test_every_engine_computes_it(network):
    model, segments = network
    expected = model.probabilities(segments).detach().numpy()
    net = fold(model)
    assert shared_depth(net, 729, 243) == 0  # windows that overlap are computed one by one
    for name, engine in ENGINES.items():
        if engine.installed:
            found = open_engine(net, name, "fp32", device="cpu")(segments.numpy())
            np.testing.assert_allclose(found, expected, atol=2e-5, err_msg=name)
    bf16 = open_engine(net, "torch", "bf16", device="cpu")(segments.numpy())
    np.testing.assert_allclose(bf16, expected, atol=0.05)


def test_gradients_are_those_of_plain_pytorch(network):
    model, segments = network
    plain = PlainSampleCNN(model.config)
    pairs = zip(plain.state_dict().items(), _in_plain_order(model), strict=True)
    plain.load_state_dict({name: value for (name, _), value in pairs})
    ours = torch.autograd.grad(model.train()(segments).square().sum(), model.conv0.weight)[0]
    theirs = torch.autograd.grad(plain.train()(segments).square().sum(), next(plain.parameters()))[0]
    torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-3 * float(theirs.abs().max()))


def _in_plain_order(model: SampleCNN) -> list[torch.Tensor]:
    """The values of a network in the order in which the plain one keeps them."""
    state, names = model.state_dict(), []
    batches = "num_batches_tracked"
    norm = ("weight", "bias", "running_mean", "running_var", batches)

    def normed(layer: str, norm_name: str) -> None:
        names.extend([f"{layer}.weight", f"{layer}.bias", *(f"{norm_name}.{part}" for part in norm)])

    normed("conv0", "norm0")
    for stage in model.spec.blocks:
        for conv in stage.convolutions:
            normed(conv.name, conv.norm)
        if stage.excitation is not None:
            names.extend(f"{stage.excitation.name}.{layer}.{part}" for layer in ("ex0", "ex1") for part in norm[:2])
    normed("final_fc", "final_norm")
    names.extend(["logit.weight", "logit.bias"])
    return [torch.tensor(0) if name.endswith(batches) else state[name] for name in names]


def test_the_summary_counts_all_of_it(network):
    model, segments = network
    summary = summarize(model)
    assert summary.totals["parameters"] == model.num_values()
    frames = [row.time for row in summary.layers if row.kind == "pool" and row.group.startswith("block")]
    assert frames == [output.shape[1] for output in model.features(segments)]
    for layer in conv_layers(model):
        assert layer.response(segments).shape[2] == layer.filters
    assert model.receptive_field == summary.totals["receptive_field"]


def test_trained_scored_and_tagged(block, built, tmp_path):
    """Trained to its end, where the Keras file is written too; scored and tagged from both files alike."""
    result = samplecnn.train(
        str(built / "sounds"), data_dir=str(built / "data"), log_dir=str(tmp_path), block=block, features=8,
        num_stages=1, max_epochs=2, patience=2, lr=0.05, warmup=0, device="cpu", precision="fp32",
    )  # fmt: skip
    scores = samplecnn.evaluate(result.run, str(built / "sounds"), str(built / "data"))
    assert scores.roc_auc > 0.5
    recording = tmp_path / "tone.wav"
    soundfile.write(recording, 0.3 * np.sin(2 * np.pi * 220 * np.arange(3000) / 8000), 8000)
    (keras,) = result.run.glob("final-*.h5")
    tags = [samplecnn.Tagger(str(model), precision="fp32")(recording) for model in (result.run, keras)]
    assert tags[0].classes == tags[1].classes
    np.testing.assert_allclose(tags[0].scores, tags[1].scores, atol=1e-5)
