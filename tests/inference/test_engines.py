"""Every installed engine in every precision, compared with the model: a new engine needs no new test."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from threadpoolctl import ThreadpoolController, threadpool_limits

from samplecnn import hardware
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.hardware import Choice
from samplecnn.inference import ENGINES, installed, open_engine, registry
from samplecnn.inference.fused_engine import Fused
from samplecnn.kernels import selection
from samplecnn.kernels.threads import compiled_passes
from samplecnn.models import BLOCKS, CONVERTED_BLOCKS, ModelConfig, SampleCNN
from samplecnn.models.folding import fold
from samplecnn.system.cpu import may_use_bf16

ALL = [*((name, False) for name in installed()), pytest.param("torch", True, id="torch-few")]
BOUNDS = {"fp32": 1e-5, "bf16": 0.1}  # bf16 has 8 significant bits, and these networks amplify differences


def make_engine(model, name, precision, few=False):
    return open_engine(model, name, precision, segments=1 if few else 10**6)


@pytest.mark.parametrize("multi", [False, True], ids=["", "multi"])
@pytest.mark.parametrize("block", [*BLOCKS, *CONVERTED_BLOCKS])
@pytest.mark.parametrize(("name", "few"), ALL)
def test_every_block_in_full_precision(make_network, make_sounds, reference, name, few, block, multi):
    model, segments = make_network(block, multi=multi), make_sounds(7, 729)
    wanted = reference(model, segments)
    assert wanted.std(0).min() > 0.01, "segments must differ for a meaningful test"
    found = make_engine(model, name, "fp32", few)(segments)
    assert found.dtype == np.float32 and found.shape == (7, 5)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=BOUNDS["fp32"])


@pytest.mark.parametrize("block", [*BLOCKS, *CONVERTED_BLOCKS])
@pytest.mark.parametrize("name", installed())
def test_lower_precisions_are_close(make_network, make_sounds, reference, name, block):
    model, segments = make_network(block), make_sounds(16, 729)
    wanted = reference(model, segments)
    for precision in ENGINES[name].precisions[1:]:
        engine = make_engine(model, name, precision)
        found = engine(segments)
        assert engine.precision == precision and np.isfinite(found).all()
        assert np.abs(found - wanted).max() < BOUNDS[precision]
        assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(("name", "few"), ALL)
def test_multi_class_other_paddings_and_a_tail(make_network, make_sounds, reference, name, few):
    for config in ({"kind": "multiclass"}, {"first_padding": "valid"}, {"first_padding": "centred", "tail": True}):
        for block in ("basic", "rese2-wide"):
            model = make_network(block, **config)
            engine = make_engine(model, name, "fp32", few)
            for samples in (model.min_samples, 730, 1001):  # any length, multiples of 3 or not
                segments = make_sounds(3, samples)
                np.testing.assert_allclose(engine(segments), reference(model, segments), rtol=0, atol=BOUNDS["fp32"])


@pytest.mark.parametrize(("name", "few"), ALL)
def test_outputs_do_not_depend_on_the_batch(make_network, make_sounds, name, few):
    engine = make_engine(make_network(), name, "fp32", few)
    segments = make_sounds(71, 729)  # more than one internal batch
    whole = engine(segments)
    assert whole.shape == (71, 5)
    for size in (1, 2, 33):
        parts = np.concatenate([engine(segments[start : start + size]) for start in range(0, 71, size)])
        np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-5)
    assert engine(segments[:0]).shape == (0, 5)
    np.testing.assert_allclose(engine(segments[::2]), whole[::2], rtol=0, atol=1e-5)  # not contiguous
    np.testing.assert_allclose(engine(segments.astype(np.float64)), whole, rtol=0, atol=1e-5)
    engine.close()


def test_numpy_limits_the_threads_of_blas_only_while_it_computes(make_network, make_sounds):
    """Its own threads have a segment each; those of BLAS belong to the whole process."""
    with threadpool_limits(2, user_api="blas"):
        before = ThreadpoolController().select(user_api="blas").info()
        engine, segments = make_engine(make_network(), "numpy", "fp32"), make_sounds(5, 729)
        whole = engine(segments)
        np.testing.assert_allclose(engine(segments[:1]), whole[:1], rtol=0, atol=1e-6)
        assert ThreadpoolController().select(user_api="blas").info() == before
        np.testing.assert_allclose(engine(segments[::-1]), whole[::-1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", installed())
def test_the_model_is_not_modified_and_may_change_later(make_network, make_sounds, reference, name):
    model, segments = make_network(), make_sounds(3, 729)
    model.train()
    model.compute_dtype = torch.bfloat16
    before = {key: value.clone() for key, value in model.state_dict().items()}
    engine = make_engine(model, name, "fp32")
    first = engine(segments)
    assert model.training and model.compute_dtype == torch.bfloat16
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(2)
    np.testing.assert_array_equal(engine(segments), first)
    assert np.abs(open_engine(model.eval(), name, "fp32")(segments) - first).max() > 0.01


@pytest.mark.parametrize("name", installed())
def test_invalid_inputs_are_refused(make_network, make_sounds, name):
    engine = make_engine(make_network(), name, "fp32", few=True)
    with pytest.raises(SampleCNNError, match=r"takes \[batch, samples\], not a shape of \[729\]"):
        engine(make_sounds(1, 729)[0])
    with pytest.raises(SampleCNNError, match="240 samples are too few: this model needs 241"):
        engine(make_sounds(2, 240))


def test_without_numba(make_network, make_sounds, reference, monkeypatch):
    from samplecnn.inference import torch_engine

    monkeypatch.setattr(torch_engine, "compiled_passes", lambda: None)
    model, segments = make_network("rese2"), make_sounds(3, 729)
    engine = make_engine(model, "torch", "fp32")
    assert type(engine.operations) is torch_engine.OnCpu
    np.testing.assert_allclose(engine(segments), reference(model, segments), rtol=0, atol=1e-5)


def test_without_onednns_fused_convolution(make_network, make_sounds, reference, monkeypatch):
    from samplecnn.inference import torch_operations

    monkeypatch.setattr(torch_operations, "has_fused_convolution", lambda _: False)
    model, segments = make_network("rese1"), make_sounds(3, 729)
    np.testing.assert_allclose(
        make_engine(model, "torch", "fp32")(segments), reference(model, segments), rtol=0, atol=1e-5
    )


def test_the_operations_for_gpus_are_correct_on_any_device(make_network, make_sounds, reference):
    from samplecnn.inference.torch_operations import Plain
    from samplecnn.models.folding import fold
    from samplecnn.models.graph import run

    for block in BLOCKS:
        model, segments = make_network(block, multi=True), make_sounds(3, 729)
        with torch.inference_mode():
            found = run(fold(model), Plain(torch.float32, torch.device("cpu")), torch.from_numpy(segments), 729)
        np.testing.assert_allclose(found.numpy(), reference(model, segments), rtol=0, atol=1e-5)


def test_invalid_requests_are_refused(make_network, monkeypatch):
    model = make_network()
    with pytest.raises(UsageError, match="engine 'abacus' is not known; use auto, torch"):
        open_engine(model, "abacus")
    with pytest.raises(UsageError, match="precision 'fp7' is not known"):
        open_engine(model, precision="fp7")
    with pytest.raises(UsageError, match="device 'abacus' cannot be used"):
        open_engine(model, device="abacus")
    with pytest.raises(UsageError, match="the model has no task"):
        open_engine(SampleCNN(ModelConfig(num_blocks=2, features=8)))
    monkeypatch.setitem(ENGINES, "onnx", replace(ENGINES["onnx"], modules=("onnx", "onnxruntime")))
    monkeypatch.setattr(registry, "is_installed", lambda module: module != "onnxruntime")
    with pytest.raises(UsageError, match=r"engine onnx needs ONNX Runtime: pip install 'samplecnn\[onnx\]'"):
        open_engine(model, "onnx")
    assert "onnx" not in installed()


@pytest.mark.skipif("onnx" not in installed(), reason="ONNX Runtime is not installed")
def test_unsupported_precisions_are_refused(make_network):
    with pytest.raises(UsageError, match="engine onnx supports fp32, not bf16; use --engine torch or openvino"):
        open_engine(make_network(), "onnx", "bf16")


def test_the_engine_depends_on_the_number_of_segments(make_network, monkeypatch):
    net, gpu = fold(make_network()), torch.device("cuda")  # too narrow for the micro-kernel
    few, many = ENGINES["torch"].numpy_first, 10**6
    monkeypatch.setattr(registry, "is_installed", lambda module: module == "torch")
    for precision in ("fp32", "bf16"):
        assert registry.choose(net, precision, None, few) == "numpy"
        assert registry.choose(net, precision, None, few, imported=True) == "torch"
        assert registry.choose(net, precision, None, None) == registry.choose(net, precision, None, few + 1) == "torch"
        assert registry.choose(net, precision, None, many) == "torch"
    monkeypatch.setattr(registry, "is_installed", lambda module: module in ("torch", "openvino"))
    few = ENGINES["openvino"].numpy_first
    assert registry.choose(net, "fp32", None, few) == "numpy" and registry.choose(net, "fp32", None, None) == "openvino"
    assert registry.choose(net, "fp32", None, few + 1) == "openvino", "it starts faster than PyTorch"
    assert registry.choose(net, "bf16", None, many) == registry.choose(net, "fp32", None, many) == "openvino"
    assert registry.choose(net, "fp32", gpu, many) == registry.choose(net, "fp32", gpu, 1) == "torch"
    wide = fold(make_network(features=32))
    assert registry.choose(wide, "bf16", None, many) == ("torch" if selection.selected() else "openvino")
    kernels = selection.for_inference(torch.float32)
    assert registry.choose(wide, "fp32", None, many) == ("torch" if kernels else "openvino")


def test_without_torch_other_engines_are_chosen(make_network, monkeypatch):
    net, many = fold(make_network()), 10**6
    for modules, few_engine, many_engine in (
        (("openvino", "onnx", "onnxruntime"), "openvino", "openvino"),
        (("onnx", "onnxruntime"), "onnx", "onnx"),
        ((), "numpy", "numpy"),
    ):
        monkeypatch.setattr(registry, "is_installed", modules.__contains__)
        assert registry.choose(net, "fp32", None, 1) == "numpy"
        assert registry.choose(net, "fp32", None, None) == registry.choose(net, "fp32", None, 40) == few_engine
        assert registry.choose(net, "fp32", None, many) == many_engine


def test_onnx_runtime_starts_before_pytorch(make_network, monkeypatch):
    net, many = fold(make_network()), 10**6
    monkeypatch.setattr(registry, "is_installed", ("torch", "onnx", "onnxruntime").__contains__)
    assert registry.choose(net, "fp32", None, 4) == "numpy"
    assert registry.choose(net, "fp32", None, 5) == registry.choose(net, "fp32", None, None) == "onnx"
    assert registry.choose(net, "fp32", None, 40, imported=True) == "torch", "it is already imported"
    assert registry.choose(net, "bf16", None, 49) == "torch", "ONNX Runtime computes in float32 only"
    assert registry.choose(net, "fp32", None, many) == "torch"


def test_a_new_engine_can_be_first(make_network, monkeypatch):
    """It only needs entries in ENGINES, BY_SPEED and BY_START."""
    net = fold(make_network())
    monkeypatch.setitem(registry.ENGINES, "new", registry.Kind("new_engine:NewEngine"))
    monkeypatch.setattr(registry, "BY_START", ("new", *registry.BY_START))
    assert registry.choose(net, "fp32", None, 1) == "numpy"
    assert registry.choose(net, "fp32", None, 100) == registry.choose(net, "fp32", None, None) == "new"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_precision_does_not_depend_on_the_number_of_segments(make_network, make_sounds, monkeypatch, precision):
    """The same segments among few and among many: the same precision, and the same scores up to its rounding."""
    monkeypatch.setenv("SAMPLECNN_AUTO_PRECISION", precision)
    segments = make_sounds(4, 729)
    for features in (8, 32):  # 32: wide enough for the micro-kernel
        net = fold(make_network("se", features=features))
        engines = [open_engine(net, segments=count, device="cpu") for count in (1, None, 1000, 10**6)]
        assert {engine.precision for engine in engines} == {precision}
        assert engines[0].name == "numpy" and engines[-1].name != "numpy"
        wanted, *others = [engine(segments) for engine in engines]
        for found in others:
            np.testing.assert_allclose(found, wanted, rtol=0, atol=BOUNDS[precision])


def test_auto_benchmarks_engines_with_two_precisions(monkeypatch):
    requested = []

    def rates(use, measure):
        requested.append(use)
        return Choice("bf16", "", {})

    monkeypatch.setattr(hardware, "auto_precision", rates)
    monkeypatch.setattr(registry, "is_installed", lambda module: module in ("torch", "openvino"))
    assert [registry.decide_precision(name, "auto", None) for name in ("auto", "torch", "openvino")] == ["bf16"] * 3
    assert requested == ["inference", "inference", "inference-openvino"]
    monkeypatch.setattr(registry, "is_installed", lambda module: module == "openvino")
    assert registry.decide_precision("auto", "auto", None) == "bf16" and requested[3:] == ["inference-openvino"]
    monkeypatch.setattr(registry, "is_installed", lambda module: False)
    assert registry.decide_precision("auto", "auto", None) == "fp32"
    for name in ("numpy", "onnx"):
        assert registry.decide_precision(name, "auto", None) == "fp32"
    assert registry.decide_precision("numpy", "bf16", None) == "bf16" and len(requested) == 4


@pytest.mark.parametrize("name", [name for name in installed() if ENGINES[name].needs_benchmark])
def test_the_benchmark_runs(name):
    """It returns the speeds of both precisions, may fail only without bfloat16, and restores PyTorch's threads."""
    threads = torch.get_num_threads()
    try:
        rates = registry._measure(name)
    except RuntimeError:
        assert not may_use_bf16()
    else:
        assert set(rates) == {"fp32", "bf16"} and min(rates.values()) > 0
    assert torch.get_num_threads() == threads


def test_kernels_of_numba_are_compared_by_products_and_everything_else_by_networks(monkeypatch):
    """OpenVINO and, without numba, PyTorch multiply directly."""
    from samplecnn.inference import precision
    from samplecnn.kernels import selection

    monkeypatch.setattr(precision, "measure", lambda opener: "networks")
    monkeypatch.setattr(selection, "inference_rates", lambda: "products")
    for kernels, expected in ((object(), "products"), (None, "networks")):
        monkeypatch.setattr(selection, "for_inference", lambda dtype, kernels=kernels: kernels)
        assert [registry._measure(name) for name in ("torch", "openvino")] == [expected, "networks"]


@pytest.mark.parametrize("multi", [False, True], ids=["", "multi"])
@pytest.mark.parametrize("block", [*BLOCKS, *CONVERTED_BLOCKS])
def test_micro_kernels_agree_with_other_kernels(unit, make_network, make_sounds, reference, block, multi):
    """At several lengths: samples that end within a block of rows, and steps that pooling drops."""
    for config in ({}, {"first_padding": "valid", "tail": True}):
        model = make_network(block, multi=multi, features=32, **config)
        many, few = make_engine(model, "torch", "bf16"), make_engine(model, "torch", "bf16", few=True)
        assert isinstance(many.operations, Fused) == (block in BLOCKS)  # a converted block's stem is not supported
        for samples in (model.min_samples, 730, 1001, 4000):
            segments = make_sounds(5, samples)
            wanted = reference(model, segments)
            error, usual = np.abs(many(segments) - wanted).mean(), np.abs(few(segments) - wanted).mean()
            assert error < 1.5 * usual + 2e-3


@pytest.mark.skipif(compiled_passes() is None, reason="numba is not installed (the extra `fast`)")
@pytest.mark.parametrize("block", ["se", "rese2"])
def test_winograd_filtering_agrees_with_the_model(make_network, make_sounds, reference, block):
    """At several lengths: samples that end within a block of rows or within a tile, alone and many."""
    model = make_network(block, multi=True, features=32)
    engine = make_engine(model, "torch", "fp32")
    assert isinstance(engine.operations, Fused)
    for count, samples in ((1, model.min_samples), (5, 730), (3, 1001), (2, 4000)):
        segments = make_sounds(count, samples)
        np.testing.assert_allclose(engine(segments), reference(model, segments), rtol=0, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 2, 3, 5])
@pytest.mark.parametrize("steps", [400, 6300, 6301])
def test_threads_that_share_a_sample_agree_with_one_thread(unit, make_network, monkeypatch, samples, steps):
    """A last sample is shared by all threads; none writes outside its part of the result."""
    from samplecnn.inference import fused_blocks

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    net, rng = fold(make_network("se", features=32)), np.random.default_rng(0)
    blocks = [
        fused_blocks.Block(
            fused_blocks.packed(unit, layer.weight, False), layer.bias, (ex0.weight, ex0.bias, ex1.weight, ex1.bias)
        )
        for layer, ex0, ex1 in ((s.convs[0], s.squeeze.ex0, s.squeeze.ex1) for s in net.stages[:2])
    ]
    first = np.ascontiguousarray(net.first.weight[:, 0].T), net.first.bias
    wave, rows = rng.standard_normal((samples * steps, 3)).astype(np.float32), steps // 9
    wanted = np.empty((samples * rows, 32), np.uint16)
    for sample in range(samples):  # one thread per sample, as there are two samples
        both = np.concatenate([wave[sample * steps : (sample + 1) * steps]] * 2)
        out = np.empty((2 * rows, 32), np.uint16)
        fused_blocks.chain(unit, both, 2, first, blocks, out)
        np.testing.assert_array_equal(out[:rows], out[rows:])
        wanted[sample * rows : (sample + 1) * rows] = out[:rows]
    found = np.full((samples * rows + 64, 32), 7, np.uint16)
    fused_blocks.chain(unit, wave, samples, first, blocks, found[32:-32])
    assert (found[:32] == 7).all() and (found[-32:] == 7).all()
    assert (found[32:-32] != wanted).mean() < 0.02  # sums over parts of the time are rounded differently
    one, other = ((array.astype(np.uint32) << 16).view(np.float32) for array in (found[32:-32], wanted))
    np.testing.assert_allclose(one, other, rtol=0.02, atol=0.01)
