"""The samplers: never a matching pair, drawn as documented, the same again from the same generator."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmtk_momentum.negatives import Hardest, ItcWeighted, Random, drawable
from torch import Tensor

from mmtk.api import NegativeSampler

SAMPLERS = {"itc_weighted": ItcWeighted(), "hardest": Hardest(), "random": Random()}


@st.composite
def matchings(draw: st.DrawFn) -> Tensor:
    """``(B, B)`` bool, symmetric, diagonal true; that two pairs match a third doesn't make them match."""
    count = draw(st.integers(1, 9))
    flags = draw(st.lists(st.booleans(), min_size=count**2, max_size=count**2))
    half = torch.tensor(flags).view(count, count)
    return half | half.t() | torch.eye(count, dtype=torch.bool)


def same(ids: list[int]) -> Tensor:
    """The pairs with equal ids match."""
    column = torch.tensor(ids)
    return column[:, None] == column


every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits(count: int, seed: int = 0, scale: float = 5.0) -> tuple[Tensor, Tensor]:
    both = scale * torch.randn(2, count, count, generator=generator(seed))
    return both[0], both[1]


@every_sampler
@given(matching=matchings(), seed=st.integers(0, 1000), scale=st.sampled_from([0.0, 1.0, 200.0]))
def test_no_matching_pair_while_there_is_another(
    sampler: NegativeSampler, matching: Tensor, seed: int, scale: float
) -> None:
    count = len(matching)
    for negative in sampler(*logits(count, seed, scale), matching, generator(seed)):
        assert negative.dtype == torch.int64
        assert negative.shape == (count,)
        for row, column in enumerate(negative.tolist()):
            assert 0 <= column < count
            if not matching[row].all():
                assert not matching[row, column]
            elif count > 1:
                assert column != row


@every_sampler
def test_a_batch_of_one_gets_itself(sampler: NegativeSampler) -> None:
    drawn = sampler(*logits(1), same([7]), generator())
    assert [negative.tolist() for negative in drawn] == [[0], [0]]


@every_sampler
def test_equal_generators_give_equal_draws(sampler: NegativeSampler) -> None:
    similarities, matching = logits(40, scale=0.5), same([*range(40)])
    first = sampler(*similarities, matching, generator(3))
    assert all(map(torch.equal, first, sampler(*similarities, matching, generator(3))))
    again = sampler(*similarities, matching, generator(4))
    assert isinstance(sampler, Hardest) == all(map(torch.equal, first, again))


@every_sampler
def test_inputs_are_left_alone(sampler: NegativeSampler) -> None:
    inputs = (*logits(5), same([0, 1, 1, 2, 3]))
    before = [tensor.clone() for tensor in inputs]
    sampler(*inputs, generator())
    assert all(map(torch.equal, before, inputs))


@every_sampler
def test_a_diverged_model_still_draws(sampler: NegativeSampler) -> None:
    wild = torch.tensor([[math.nan, 1.0, 2.0], [math.inf, 0.0, 1.0], [-math.inf, -math.inf, -math.inf]])
    drawn = sampler(wild, wild, same([0, 1, 2]), generator())
    assert all((negative != torch.arange(3)).all() for negative in drawn)


def test_itc_weighted_draws_by_softmax_and_floor() -> None:
    """10,000 draws of each row stay within five standard errors of BLIP's probabilities."""
    floor, draws = 0.02, 10_000
    matching = same([0, 1, 1, 2, 3])
    similarities = logits(len(matching), seed=5, scale=2.0)
    sampler, source = ItcWeighted(floor=floor), generator(11)
    counts = torch.zeros(2, *matching.shape)
    rows = torch.arange(len(matching))
    for _ in range(draws):
        for direction, negative in enumerate(sampler(*similarities, matching, source)):
            counts[direction, rows, negative] += 1
    for direction, similarity in enumerate(similarities):
        weights = similarity.double().exp()
        weights = weights / weights.sum(1, keepdim=True) + floor
        weights[matching] = 0
        expected = weights / weights.sum(1, keepdim=True)
        error = (expected * (1 - expected) / draws).sqrt()
        assert ((counts[direction] / draws - expected).abs() <= 5 * error + 1e-9).all()


def test_the_floor_lets_the_least_similar_be_drawn() -> None:
    matching = same([0, 1, 2])
    certain = torch.tensor([[0.0, 0.0, 500.0]]).repeat(3, 1)
    source = generator()
    drawn = {int(ItcWeighted(floor=1.0)(certain, certain, matching, source)[0][0]) for _ in range(50)}
    assert drawn == {1, 2}


def test_hardest_takes_the_most_similar_that_does_not_match_in_either_direction() -> None:
    matching = same([0, 0, 1, 2])
    text_to_image = torch.tensor([[9.0, 8, 1, 2], [8, 9, 3, 1], [5, 6, 9, 4], [1, 2, 3, 9]])
    image_to_text = -text_to_image
    drawn = Hardest()(text_to_image, image_to_text, matching, generator())
    assert drawn.image_for_text.tolist() == [3, 2, 1, 2]
    assert drawn.text_for_image.tolist() == [2, 3, 3, 0]


def test_random_draws_all_that_do_not_match_alike() -> None:
    matching = same([0, 0, 1, 2, 3])
    counts, source = torch.zeros(5), generator(1)
    for _ in range(6000):
        drawn = Random()(*logits(5), matching, source)
        counts[drawn.image_for_text[0]] += 1
    assert counts[:2].sum() == 0
    assert ((counts[2:] / 6000 - 1 / 3).abs() < 0.03).all()


@given(matchings())
def test_every_row_may_draw_something(matching: Tensor) -> None:
    allowed = drawable(matching)
    assert allowed.any(1).all()
    for row, matches in enumerate(matching.tolist()):
        others = [column for column, match in enumerate(matches) if not match]
        rest = [column for column in range(len(matching)) if column != row]
        assert allowed[row].nonzero().flatten().tolist() == (others or rest or [row])
