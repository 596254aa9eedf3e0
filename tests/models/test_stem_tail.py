"""What other programs' networks have at their ends; that they say the same is shown beside their checkpoints."""

import pytest
import torch
import torch.nn.functional as F

from samplecnn import ModelConfig, SampleCNN
from samplecnn.errors import UsageError
from samplecnn.interop.keras import unsupported
from samplecnn.models import BLOCKS, CONVERTED_BLOCKS


@pytest.mark.parametrize(
    ("block", "tail"), [("basic", True), ("rese2", True), *((b, t) for b in CONVERTED_BLOCKS for t in (0, 1))]
)
@pytest.mark.parametrize("multi", [False, True])
def test_every_value_counts_and_bf16_stays_close(block, tail, multi):
    torch.manual_seed(0)
    config = ModelConfig(
        block, multi, num_blocks=4, num_classes=5, features=16, first_padding="centred", tail=bool(tail)
    )
    model, x = SampleCNN(config), torch.randn(8, 729)
    F.cross_entropy(model(x), torch.arange(8) % 5).backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())
    model.eval()
    with torch.no_grad():
        exact = model(x)
        assert torch.allclose(torch.cat([model(x[:3]), model(x[3:])]), exact, atol=1e-5)
        model.compute_dtype = torch.bfloat16
        assert (exact - model(x)).abs().max() < 0.1 * exact.abs().max()


def test_the_originals_architectures_are_untouched():
    for block in BLOCKS:
        config = ModelConfig(block, num_blocks=3, features=8)
        assert unsupported(config) is None
        assert not any(name.startswith(("stem", "tail")) for name in SampleCNN(config).state_dict())
    older = {key: value for key, value in ModelConfig().to_dict().items() if key not in ("first_padding", "tail")}
    assert ModelConfig.from_dict(older) == ModelConfig()


@pytest.mark.parametrize(
    ("config", "said"),
    [({"block": "rese2-wide"}, "block"), ({"tail": True}, "layer between"), ({"first_padding": "centred"}, "centred")],
)
def test_what_goes_beyond_the_original_is_named(config, said):
    assert said in unsupported(ModelConfig(**config))
    with pytest.raises(UsageError, match="rese2-wide"):
        ModelConfig(block="rese3")
