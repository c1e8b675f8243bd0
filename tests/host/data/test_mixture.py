from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.data.mixture import Mixture, SourceSize, shared_out

sources = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 140)), min_size=1, max_size=4).map(
    lambda sizes: [SourceSize(f"s{n}", samples, per_epoch) for n, (samples, per_epoch) in enumerate(sizes)]
)


def of_source(rows: np.ndarray, number: int) -> list[int]:
    return rows[rows[:, 0] == number, 1].tolist()


@settings(max_examples=60, deadline=None)
@given(sources=sources, seed=st.integers(0, 99))
def test_over_any_epochs_no_sample_is_a_pass_ahead_of_another(sources: list[SourceSize], seed: int) -> None:
    mixture = Mixture(sources, seed)
    counts = [Counter(dict.fromkeys(range(source.samples), 0)) for source in sources]
    for epoch in range(5):
        rows = mixture.epoch(epoch)[:]
        assert rows.shape == (len(mixture), 3)
        assert len(np.unique(rows, axis=0)) == len(rows), "the pass tells repeated draws of an epoch apart"
        for number, source in enumerate(sources):
            drawn = of_source(rows, number)
            assert len(drawn) == source.per_epoch
            counts[number].update(drawn)
            assert set(counts[number]) == set(range(source.samples))
            assert max(counts[number].values()) - min(counts[number].values()) <= 1


@given(
    total=st.integers(1, 5000),
    shares=st.lists(st.floats(0.01, 100, allow_nan=False), min_size=1, max_size=6),
)
def test_shares_of_an_epoch(total: int, shares: list[float]) -> None:
    parts = shared_out(total, shares)
    exact = [total * share / sum(shares) for share in shares]
    assert all(part >= 1 and abs(part - value) <= 1 for part, value in zip(parts, exact, strict=True))
    if min(exact) >= 1:
        assert sum(parts) == total


def test_a_stream_has_draws_that_name_no_sample() -> None:
    rows = Mixture([SourceSize("s", 0, 6), SourceSize("r", 4, 4)], seed=0).epoch(1)[:]
    assert of_source(rows, 0) == [0] * 6
    assert sorted(of_source(rows, 1)) == [0, 1, 2, 3]


def test_half_a_pass_takes_the_other_half_next_time() -> None:
    mixture = Mixture([SourceSize("s", 20, 10)], seed=0)
    first, second, third = (set(of_source(mixture.epoch(epoch)[:], 0)) for epoch in range(3))
    assert first | second == set(range(20))
    assert not first & second
    assert third != first


def test_two_passes_take_each_sample_twice() -> None:
    rows = Mixture([SourceSize("s", 20, 40)], seed=0).epoch(3)[:]
    assert Counter(of_source(rows, 0)) == dict.fromkeys(range(20), 2)
    assert sorted(set(rows[:, 2].tolist())) == [6, 7]


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    sources = [SourceSize("a", 30, 30), SourceSize("b", 10, 20)]
    mixture = Mixture(sources, seed=5)
    late_first = mixture.epoch(7)[:]
    assert np.array_equal(Mixture(sources, seed=5).epoch(7)[:], late_first)
    assert not np.array_equal(Mixture(sources, seed=6).epoch(7)[:], late_first)
    assert not np.array_equal(mixture.epoch(8)[:], late_first)


def test_sources_are_shuffled_into_one_another() -> None:
    rows = Mixture([SourceSize("a", 500, 500), SourceSize("b", 500, 500)], seed=0).epoch(0)[:]
    assert 200 < (rows[:500, 0] == 0).sum() < 300
    assert of_source(rows, 0) != sorted(of_source(rows, 0))
