"""Folded networks, from a model in memory and from a file without PyTorch: the same."""

import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from samplecnn import model_files
from samplecnn.errors import SampleCNNError
from samplecnn.inference import open_engine
from samplecnn.models import BLOCKS, CONVERTED_BLOCKS
from samplecnn.models.folding import fold
from samplecnn.models.graph import Layer


def layers(part) -> list[Layer]:
    """All layers of a network, in order."""
    if isinstance(part, Layer):
        return [part]
    if isinstance(part, tuple):
        return [layer for each in part for layer in layers(each)]
    names = [field.name for field in fields(part)] if hasattr(part, "__dataclass_fields__") else []
    return [layer for name in names for layer in layers(getattr(part, name))]


@pytest.mark.parametrize("multi", [False, True], ids=["", "multi"])
@pytest.mark.parametrize("block", [*BLOCKS, *CONVERTED_BLOCKS])
def test_a_file_gives_the_graph_of_its_model(make_network, tmp_path, block, multi):
    model = make_network(block, multi=multi, tail=multi)
    model_files.save(model, tmp_path)
    wanted, found = fold(model), model_files.load_graph(tmp_path)
    assert (found.config, found.task) == (wanted.config, wanted.task)
    assert [layer.name for layer in layers(found)] == [layer.name for layer in layers(wanted)]
    for one, other in zip(layers(found), layers(wanted), strict=True):
        np.testing.assert_array_equal(one.weight, other.weight)
        np.testing.assert_array_equal(one.bias, other.bias)
    assert len(layers(found)) == sum("weight" in name and "norm" not in name for name in model.state_dict())


def test_dtypes_that_numpy_lacks(make_network, make_sounds, reference, tmp_path):
    model, segments = make_network("rese1"), make_sounds(3, 729)
    model_files.save(model, tmp_path)
    file = tmp_path / model_files.WEIGHTS
    save_file({name: value.bfloat16() for name, value in load_file(file).items()}, file)
    found = open_engine(model_files.load_graph(tmp_path), "numpy")(segments)
    np.testing.assert_allclose(found, reference(model_files.load(tmp_path), segments), rtol=0, atol=1e-5)


def test_damage_is_reported_as_by_load(make_network, tmp_path):
    model = make_network("res2")
    model_files.save(model, tmp_path)
    file, description = tmp_path / model_files.WEIGHTS, tmp_path / model_files.CONFIG
    whole, values = file.read_bytes(), {name: value.clone() for name, value in model.state_dict().items()}

    def check(match: str) -> None:
        for load in (model_files.load, model_files.load_graph):
            with pytest.raises(SampleCNNError, match=match):
                load(tmp_path)

    file.write_bytes(whole[:-100])
    check("model.safetensors: damaged")
    save_file({name: value for name, value in values.items() if name != "blocks.1.norms.0.bias"}, file)
    check("does not fit the architecture in config.json: .*blocks.1.norms.0.bias")
    save_file({**values, "more": torch.zeros(1)}, file)
    check("does not fit the architecture in config.json: .*more")
    save_file({**values, "blocks.0.convs.0.weight": values["blocks.0.convs.0.weight"][:, 1:].contiguous()}, file)
    check("does not fit the architecture in config.json: .*blocks.0.convs.0.weight")
    save_file({**values, "blocks.1.convs.1.weight": values["blocks.1.convs.1.weight"][:, :, 1:].contiguous()}, file)
    check("does not fit the architecture in config.json: .*blocks.1.convs.1.weight")
    file.write_bytes(whole)
    stated = json.loads(description.read_text())
    description.write_text(json.dumps({**stated, "model": {**stated["model"], "block": "res1"}}))
    check("does not fit the architecture in config.json: .*convs.1")
    description.write_text(json.dumps({**stated, "model": {**stated["model"], "block": "rese2"}}))
    check("does not fit the architecture in config.json: .*excitation")
