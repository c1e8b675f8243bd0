"""Negatives from all ranks: two processes with half a batch each do what one process does with the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmtk_blip.heads.itm import ItmHead
from mmtk_blip.losses import CrossEntropy
from mmtk_momentum.ema import MomentumEncoder
from mmtk_momentum.negatives import Hardest
from torch import Tensor, nn

from mmtk.types import Batch, Negatives
from tests.ranks import run_ranks

from .parts import batch, state, tiny_learner

IMAGE_IDS = [3, 5, 3, 8]  # the first half's first pair and the second half's first one show the same image


class Recording:
    """The hardest negatives, kept."""

    def __init__(self) -> None:
        self.matching = torch.zeros(0)
        self.drawn: Negatives | None = None

    def __call__(
        self, text_to_image: Tensor, image_to_text: Tensor, matching: Tensor, generator
    ) -> Negatives:
        self.matching = matching
        self.drawn = Hardest()(text_to_image, image_to_text, matching, generator)
        return self.drawn


def half(rank: int, first_rows: int) -> Batch:
    whole, rows = batch(image_ids=IMAGE_IDS), slice(first_rows) if rank == 0 else slice(first_rows, None)
    return Batch(whole.images[rows], whole.texts[rows], whole.image_ids[rows], whole.keys[rows])


def step(own: Batch) -> dict[str, Any]:
    """The loss and gradients of ITM with negatives of all ranks, and what was drawn."""
    learner, sampler = tiny_learner(seed=4), Recording()
    momentum = MomentumEncoder(model=learner.model, queue_size=7)
    head = ItmHead(text_width=16, loss=CrossEntropy(), negatives=sampler, negatives_from="all_ranks")
    nn.init.normal_(head.classifier.weight, generator=torch.Generator().manual_seed(0))
    context = learner.model.context(own, state(), momentum)
    loss = head(context).loss
    loss.backward()
    momentum.after_step([context])
    parameters = {**dict(learner.model.named_parameters()), **dict(head.named_parameters())}
    assert sampler.drawn is not None
    return {
        "loss": loss.detach(),
        "gradients": {name: p.grad for name, p in parameters.items() if p.grad is not None},
        "matching": sampler.matching,
        "drawn": tuple(sampler.drawn),
        "queue": momentum.queue.contents(),
    }


def step_of_rank(rank: int, first_rows: int) -> dict[str, Any]:
    return step(half(rank, first_rows))


def check_draws_and_loss(results: list[dict[str, Any]], whole: dict[str, Any], first_rows: int) -> None:
    for name in (0, 1):  # an image for each text, a text for each image
        # Each rank counts from its own pairs on.
        found = [(result["drawn"][name] + first_rows * rank) % 4 for rank, result in enumerate(results)]
        assert torch.equal(torch.cat(found), whole["drawn"][name])
    shares = (first_rows / 4, 1 - first_rows / 4)
    loss = sum(share * result["loss"] for share, result in zip(shares, results, strict=True))
    torch.testing.assert_close(loss, whole["loss"])


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_ranks("tests.blip.test_ranks:step_of_rank", tmp_path_factory.mktemp("ranks"), 2)


def test_two_ranks_equal_one_process(halves: list[dict[str, Any]]) -> None:
    whole = step(batch(image_ids=IMAGE_IDS))
    check_draws_and_loss(halves, whole, 2)
    assert max(gradient.abs().max() for gradient in whole["gradients"].values()) > 1e-2
    for name, gradient in whole["gradients"].items():
        found = sum(result["gradients"][name] for result in halves) / 2
        torch.testing.assert_close(found, gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_pairs_of_one_image_are_no_negatives_across_ranks(halves: list[dict[str, Any]]) -> None:
    for result in halves:
        assert result["matching"].tolist() == [[True, False, True, False], [False, True, False, False]]
    assert any(int(result["drawn"][0].max()) >= 2 for result in halves)  # some come from the other rank


def test_queues_of_all_ranks_stay_equal(halves: list[dict[str, Any]]) -> None:
    one, other = (result["queue"] for result in halves)
    assert all(torch.equal(*columns) for columns in zip(one, other, strict=True))
    assert one[2].tolist() == IMAGE_IDS
    torch.testing.assert_close(one[0], step(batch(image_ids=IMAGE_IDS))["queue"][0])


def test_ranks_may_hold_different_numbers_of_pairs_and_tokens(tmp_path: Path) -> None:
    results = run_ranks("tests.blip.test_ranks:step_of_rank", tmp_path, 3)
    check_draws_and_loss(results, step(batch(image_ids=IMAGE_IDS)), 3)


def test_in_one_process_both_options_read_the_same_rows() -> None:
    torch.manual_seed(0)
    learner, own = tiny_learner(), batch()
    losses = []
    for negatives_from in ("rank", "all_ranks"):
        torch.manual_seed(1)
        head = ItmHead(text_width=16, loss=CrossEntropy(), negatives=Hardest(), negatives_from=negatives_from)
        losses.append(head(learner.model.context(own, state())).loss)
    torch.testing.assert_close(*losses)
