"""What holds of every draw, and how hardness moves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmtk_curriculum.configs import CurriculumConfig
from mmtk_curriculum.sampler import Curriculum


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@st.composite
def draws(draw: Any) -> tuple[Curriculum, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A sampler somewhere in its curriculum, and logits and matches of a batch, with other ranks' or not."""
    rows = draw(st.integers(1, 6))
    columns = rows + draw(st.integers(0, 4))
    ids = torch.tensor(draw(st.lists(st.integers(0, 3), min_size=columns, max_size=columns)))
    sampler = Curriculum(steps=10).eval()
    sampler.batches.fill_(draw(st.integers(0, 20)))
    logits = torch.randn(2, rows, columns, generator=generator(draw(st.integers(0, 99)))) * 20
    if draw(st.booleans()):
        logits[:, :, -1] = torch.nan  # a model that has diverged
    return sampler, logits[0], logits[1], ids[:rows, None] == ids


@given(draws())
def test_every_row_gets_a_true_negative_where_there_is_one(drawn: Any) -> None:
    sampler, text_to_image, image_to_text, matching = drawn
    negatives = sampler(text_to_image, image_to_text, matching, generator())
    rows, columns = matching.shape
    for chosen in (negatives.image_for_text, negatives.text_for_image):
        assert chosen.shape == (rows,)
        assert chosen.dtype == torch.long
        for row, column in enumerate(chosen.tolist()):
            assert 0 <= column < columns
            assert column != row or columns == 1  # never the own text
            assert not matching[row, column] or matching[row].all()
    again = sampler(text_to_image, image_to_text, matching, generator())
    assert torch.equal(negatives.image_for_text, again.image_for_text)
    assert torch.equal(negatives.text_for_image, again.text_for_image)


def test_it_ends_with_the_hardest_and_starts_with_even_draws() -> None:
    logits = torch.tensor([[9.0, 1, 5, 4], [1, 9, 2, 8], [7, 3, 9, 7.5], [0, 1, 2, 9]])
    matching = torch.eye(4, dtype=torch.bool)
    sampler = Curriculum(steps=1).eval()
    first = torch.stack([sampler(logits, logits, matching, generator(s)).image_for_text for s in range(900)])
    for row in range(4):
        counts = torch.bincount(first[:, row], minlength=4)
        assert counts[row] == 0
        assert all(230 < count < 370 for column, count in enumerate(counts.tolist()) if column != row)
    sampler.batches.fill_(1)
    last = sampler(logits, logits.t(), matching, generator())
    assert last.image_for_text.tolist() == [2, 3, 3, 2]
    assert last.text_for_image.tolist() == [2, 2, 0, 1]


def test_halfway_half_of_the_rows_take_their_hardest() -> None:
    logits = torch.arange(64.0).expand(64, 64)
    sampler = Curriculum(steps=10, start=0.2, end=0.8).eval()
    sampler.batches.fill_(5)
    assert sampler.hardness == pytest.approx(0.5)
    matching = torch.eye(64, dtype=torch.bool)
    drawn = [sampler(logits, logits, matching, generator(seed)).image_for_text[:63] for seed in range(20)]
    hardest = (torch.stack(drawn) == 63).float().mean().item()
    assert hardest == pytest.approx(0.5 + 0.5 / 63, abs=0.05)


def test_hardness_rises_in_a_line_and_stays() -> None:
    logits, matching = torch.zeros(2, 2), torch.eye(2, dtype=torch.bool)
    sampler = Curriculum(steps=4, start=0.1, end=0.9)
    seen = []
    for _ in range(6):
        seen.append(sampler.hardness)
        sampler(logits, logits, matching, generator())
    assert seen == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9, 0.9])


def test_the_counter_is_saved_and_evaluation_counts_nothing() -> None:
    logits, matching = torch.zeros(2, 2), torch.eye(2, dtype=torch.bool)
    sampler = Curriculum(steps=4)
    sampler(logits, logits, matching, generator())
    sampler.eval()(logits, logits, matching, generator())
    resumed = Curriculum(steps=4)
    resumed.load_state_dict(sampler.state_dict())
    assert resumed.hardness == sampler.hardness == 0.25


def test_a_curriculum_that_gets_easier_is_refused() -> None:
    ((field, message),) = CurriculumConfig(steps=3, start=0.5, end=0.25).check()
    assert (field, message) == ("end", "0.25 is below start, 0.5: a curriculum gets harder")
    assert not list(CurriculumConfig(steps=3, start=0.5, end=0.5).check())
