"""Embeddings from every engine, compared with the values inside the PyTorch model."""

import numpy as np
import pytest
import torch

from samplecnn.errors import UsageError
from samplecnn.inference import installed, open_engine
from samplecnn.inference.overlap import share
from samplecnn.models.embedding import embedding_size, with_embedding
from samplecnn.models.folding import fold


def expected_embedding(model, segments, layer):
    """The hidden layer, or the mean over time of a block, float32 [batch, size]."""
    seen = []
    if layer == "hidden":
        handle = model.logit.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    else:
        handle = model.blocks[layer].register_forward_hook(lambda module, inputs, output: seen.append(output.mean(1)))
    with torch.inference_mode():
        model(torch.from_numpy(segments))
    handle.remove()
    return seen[0].numpy()


@pytest.mark.parametrize("block", ["basic", "se", "rese2"])
@pytest.mark.parametrize("name", installed())
def test_every_layer_from_every_engine(make_network, make_sounds, reference, name, block):
    for multi in (False, True):
        model, segments = make_network(block, multi=multi), make_sounds(5, 729)
        for layer in ("hidden", 0, 3):
            net = with_embedding(fold(model), layer)
            engine = open_engine(net, name, "fp32", segments=10**6)
            columns = engine.columns(segments)
            wanted = expected_embedding(model, segments, layer)
            assert columns.shape == (5, 5 + embedding_size(net)) and columns.dtype == np.float32
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(columns[:, 5:], wanted, rtol=0, atol=1e-5 * max(scale, 1))
            np.testing.assert_allclose(engine(segments), reference(model, segments), rtol=0, atol=1e-5)
            assert wanted.std(0).max() > 0.01, "segments must differ, else this shows nothing"
            assert engine.columns(segments[:0]).shape == (0, engine.width)


@pytest.mark.parametrize("block", ["basic", "se", "res2", "rese2"])
def test_windows_that_share_layers_have_the_same_embeddings(make_network, make_sounds, block):
    window, hop = 2187, 243
    model = make_network(block, num_blocks=5)
    buffer = make_sounds(1, window + 5 * hop)[0]
    separate = np.lib.stride_tricks.sliding_window_view(buffer, window)[::hop]
    for layer in ("hidden", 0, 1, 4):
        engine = open_engine(with_embedding(fold(model), layer), "torch", "fp32", segments=1)
        sharing = share(engine, window, hop)
        if sharing is None:
            continue
        wanted = engine.columns(separate)
        np.testing.assert_allclose(sharing(buffer), wanted, rtol=0, atol=1e-5 * max(np.abs(wanted).max(), 1))
        assert layer == "hidden" or sharing.depth <= layer + 1


def test_unknown_layers_are_refused(make_network):
    net = fold(make_network())
    assert with_embedding(net, "2").embedding == 2 and with_embedding(net, None).embedding is None
    for layer in (4, -1, "logits", True, 1.5):
        with pytest.raises(UsageError, match="hidden' or a block, 0 to 3"):
            with_embedding(net, layer)
