"""The average and the queue agree with the public BLIP implementation (tests/golden/README.md)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmtk_momentum.ema import MomentumEncoder
from mmtk_momentum.queue import FeatureQueue
from safetensors.torch import load_file
from torch import Tensor, nn

from mmtk.api import StepState

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return load_file(GOLDEN / "blip_tiny.safetensors")


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    return load_file(GOLDEN / "blip_tiny_expected.safetensors")


class Projection(nn.Linear):
    """The image projection alone, as the towers of a model."""

    embed_dim = 32

    def feature_towers(self) -> nn.Module:
        return self


def test_the_average_after_one_step(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    model = Projection(64, 32)
    encoder = MomentumEncoder(model=model, momentum=0.995, queue_size=24)  # type: ignore[arg-type]
    for module, name in ((model, "vision_proj"), (encoder.twin, "vision_proj_m")):
        module.load_state_dict({part: weights[f"{name}.{part}"].float() for part in ("weight", "bias")})
    encoder.before_step(StepState(0, 0.0, 1, 0))
    torch.testing.assert_close(encoder.twin.weight, expected["momentum_proj_after"], rtol=1e-6, atol=1e-7)


def test_a_full_queue_takes_the_step_where_the_public_pointer_stands(
    weights: dict[str, Tensor], expected: dict[str, Tensor]
) -> None:
    facts = json.loads((GOLDEN / "blip_tiny_expected.json").read_text(encoding="utf-8"))
    images, texts = weights["image_queue"].float().t(), weights["text_queue"].float().t()
    after = expected["image_queue_after"].float().t()
    size, count = len(images), facts["queue_ptr_after"]
    queue = FeatureQueue(size, images.shape[1])
    no_id, ids = torch.full((size,), -1), torch.arange(count)
    queue.push(images, texts, no_id, no_id)
    assert torch.equal(queue.contents()[0], images)
    queue.push(after[:count], texts[:count], ids, ids)
    assert torch.equal(queue.contents()[0], after)
    assert torch.equal(queue.contents()[1], texts)
    assert queue.contents()[2].tolist() == [*range(count), *[-1] * (size - count)]
