"""A `torch.export` program (.pt2): the folded network as one function that PyTorch runs without samplecnn."""

import json
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from samplecnn.inference.torch_operations import Plain
from samplecnn.interop.runtimes import (
    EMBEDDING,
    PROBABILITIES,
    WAVE,
    compare_outputs,
    exported_network,
    metadata,
)
from samplecnn.models.graph import Graph, run
from samplecnn.models.stored import card_texts
from samplecnn.system.files import written_aside

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN
    from samplecnn.models.stored import StoredModel

METADATA = "samplecnn.json"  # name of the metadata among the extra files of the program


class Program(nn.Module):
    """A folded network with standardisation: wave [batch, window] -> {"probabilities", "embedding"}.

    Args:
        net: the network, with an embedding.
    """

    def __init__(self, net: Graph) -> None:
        super().__init__()
        self.net, self.operations = net, Plain(torch.float32, torch.device("cpu"))

    def forward(self, wave: Tensor) -> dict[str, Tensor]:
        net, task = self.net, self.net.task
        unused = -min(net.spec.padding(task.window)[1], 0)  # samples at the end that no layer reaches
        scaled = (wave[:, : task.window - unused] - task.mean) / task.std
        columns = run(net, self.operations, scaled, task.window - unused)
        return {PROBABILITIES: columns[:, : net.classes], EMBEDDING: columns[:, net.classes :]}


def write_torch(model: "SampleCNN | StoredModel", path: Path) -> None:
    """Writes a .pt2 file, which `torch.export.load` reads.

    Raises:
        SampleCNNError: PyTorch computes something else with it; nothing is written.
    """
    net = exported_network(model)
    example = torch.zeros(2, net.task.window)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of PyTorch about itself
        batch = torch.export.Dim("batch", min=1)
        program = torch.export.export(Program(net).eval(), (example,), dynamic_shapes={WAVE: {0: batch}})
        with tempfile.TemporaryDirectory() as folder:  # PyTorch asks for a name that ends in .pt2
            made = Path(folder) / "model.pt2"
            about = json.dumps(metadata(net) | card_texts(model), ensure_ascii=False)
            torch.export.save(program, made, extra_files={METADATA: about})
            compare_outputs(net, _by_torch(made), "PyTorch")
            with written_aside(path) as aside:
                aside.write_bytes(made.read_bytes())


def _by_torch(path: Path) -> Any:
    module = torch.export.load(path).module()

    def infer(waves: np.ndarray) -> list[np.ndarray]:
        with torch.no_grad():
            found = module(torch.from_numpy(waves))
        return [found[name].numpy() for name in (PROBABILITIES, EMBEDDING)]

    return infer
