from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.data.mixture import Mixture, SourceSize

sources = st.lists(
    st.tuples(st.integers(1, 40), st.floats(0.05, 3.5, allow_nan=False)), min_size=1, max_size=4
).map(lambda sizes: [SourceSize(f"s{n}", samples, weight) for n, (samples, weight) in enumerate(sizes)])


def of_source(rows: np.ndarray, number: int) -> list[int]:
    return rows[rows[:, 0] == number, 1].tolist()


@settings(max_examples=60, deadline=None)
@given(sources=sources, seed=st.integers(0, 99))
def test_over_any_epochs_no_sample_is_a_pass_ahead_of_another(sources: list[SourceSize], seed: int) -> None:
    mixture = Mixture(sources, seed)
    counts = [Counter(dict.fromkeys(range(source.samples), 0)) for source in sources]
    for epoch in range(5):
        rows = mixture.epoch(epoch)
        assert rows.shape == (len(mixture), 3)
        assert len(np.unique(rows, axis=0)) == len(rows), "the pass tells repeated draws of an epoch apart"
        for number, source in enumerate(sources):
            drawn = of_source(rows, number)
            assert len(drawn) == source.per_epoch
            counts[number].update(drawn)
            assert set(counts[number]) == set(range(source.samples))
            assert max(counts[number].values()) - min(counts[number].values()) <= 1


@pytest.mark.parametrize(
    ("samples", "weight", "per_epoch"),
    [(10, 1.0, 10), (10, 2.0, 20), (10, 0.5, 5), (10, 0.01, 1), (3, 0.5, 2)],
)
def test_draws_per_epoch(samples: int, weight: float, per_epoch: int) -> None:
    assert SourceSize("s", samples, weight).per_epoch == per_epoch


def test_half_a_pass_takes_the_other_half_next_time() -> None:
    mixture = Mixture([SourceSize("s", 20, 0.5)], seed=0)
    first, second, third = (set(of_source(mixture.epoch(epoch), 0)) for epoch in range(3))
    assert first | second == set(range(20))
    assert not first & second
    assert third != first


def test_two_passes_take_each_sample_twice() -> None:
    rows = Mixture([SourceSize("s", 20, 2.0)], seed=0).epoch(3)
    assert Counter(of_source(rows, 0)) == dict.fromkeys(range(20), 2)
    assert sorted(set(rows[:, 2].tolist())) == [6, 7]


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    sources = [SourceSize("a", 30, 1.0), SourceSize("b", 10, 2.0)]
    mixture = Mixture(sources, seed=5)
    late_first = mixture.epoch(7)
    assert np.array_equal(Mixture(sources, seed=5).epoch(7), late_first)
    assert not np.array_equal(Mixture(sources, seed=6).epoch(7), late_first)
    assert not np.array_equal(mixture.epoch(8), late_first)


def test_sources_are_shuffled_into_one_another() -> None:
    rows = Mixture([SourceSize("a", 500, 1.0), SourceSize("b", 500, 1.0)], seed=0).epoch(0)
    assert 200 < (rows[:500, 0] == 0).sum() < 300
    assert of_source(rows, 0) != sorted(of_source(rows, 0))
