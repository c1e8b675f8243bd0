from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.data.configs import DataConfig, SourceConfig
from mmtk.data.pipeline import Built, TrainingData
from mmtk.errors import DataError
from mmtk.types import Batch, stable_hash

from .samples import ListReader, equal, reader, sample, training_config


def test_a_batch() -> None:
    data = TrainingData(training_config({"web": (reader(9), 1.0)}), seed=0)
    batches = list(data.epoch(0))
    assert data.batches_per_epoch == len(batches) == 2
    assert len(data) == 9
    for batch in batches:
        assert batch.images.shape == (4, 3, 12, 12)
        assert batch.images.dtype == torch.float32
        assert batch.image_ids.dtype == torch.int64
        assert batch.image_ids.tolist() == [stable_hash(f"image{key}") for key in batch.keys]
        assert all(
            text in (f"a {key}", f"b {key}") for text, key in zip(batch.texts, batch.keys, strict=True)
        )


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("cache", [False, True])
def test_batches_do_not_depend_on_workers_or_cache(workers: int, cache: bool) -> None:
    readers = {"web": (reader(30, {3, 4, 17}), 1.0), "human": (reader(7, prefix="h"), 2.0)}
    plain = TrainingData(training_config(readers), seed=1)
    other = TrainingData(training_config(readers, workers=workers, cache_decoded=cache), seed=1)
    for epoch in (0, 1, 5):
        assert equal(list(plain.epoch(epoch)), list(other.epoch(epoch)))
        assert plain.accounts == other.accounts
    assert plain.quarantine.entries == other.quarantine.entries


def test_an_epoch_can_start_at_any_step_in_a_fresh_process() -> None:
    readers = {"web": (reader(30, {3, 4, 17}), 1.0)}
    whole = list(TrainingData(training_config(readers), seed=1).epoch(2))
    for start in range(len(whole) + 2):
        fresh = TrainingData(training_config(readers, workers=2), seed=1)
        assert fresh.batches_left(4 * start) == len(whole[start:])
        assert equal(list(fresh.epoch(2, 4 * start)), whole[start:])
        assert fresh.accounts.offered == max(30 - 4 * start, 0)


def joined(batches: Iterable[Batch]) -> Batch:
    """One batch of several ranks' batches."""
    batches = list(batches)
    return Batch(
        torch.cat([batch.images for batch in batches]),
        tuple(text for batch in batches for text in batch.texts),
        torch.cat([batch.image_ids for batch in batches]),
        tuple(key for batch in batches for key in batch.keys),
    )


@settings(max_examples=40, deadline=None)
@given(
    samples=st.integers(1, 40),
    world=st.integers(1, 4),
    batch_size=st.integers(1, 5),
    taken=st.integers(0, 45),
    workers=st.sampled_from([0, 0, 0, 2]),
    weight=st.sampled_from([0.5, 1.0, 1.7]),
)
def test_ranks_share_out_what_one_rank_with_a_large_batch_sees(
    samples: int, world: int, batch_size: int, taken: int, workers: int, weight: float
) -> None:
    readers = {"web": (reader(samples, {1, 4} if samples > 5 else frozenset()), weight)}  # type: ignore[arg-type]
    one = TrainingData(training_config(readers, batch_size=batch_size * world), seed=2)
    config = training_config(readers, batch_size=batch_size, workers=workers)
    if len(one) < world:
        with pytest.raises(DataError, match=f"{len(one)} samples can't be shared out among {world} proc"):
            TrainingData(config, seed=2, world=world)
        return
    ranks = [TrainingData(config, seed=2, rank=rank, world=world) for rank in range(world)]
    parts = [list(rank.epoch(3, taken)) for rank in ranks]
    steps = {rank.batches_left(taken) for rank in ranks} | {len(part) for part in parts}
    whole = list(one.epoch(3, taken))[: max(steps)]
    assert steps == {len(whole)}
    assert equal([joined(step) for step in zip(*parts, strict=True)], whole)
    for step in zip(*parts, strict=True):
        sizes = {len(batch) for batch in step}
        assert sizes == {batch_size} if len(one) >= one.batch_size else max(sizes) - min(sizes) <= 1
    accounts = [rank.accounts for rank in ranks]
    assert sum(a.offered for a in accounts) == max(len(one) - taken, 0)
    assert sum(a.used + a.quarantined for a in accounts) == sum(map(len, whole))
    assert all(a.offered == a.used + a.quarantined + a.left_over for a in accounts)


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(5, 20), sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2)), max_size=6)
)
def test_batch_size_and_ranks_may_change_within_an_epoch(samples: int, sizes: list[tuple[int, int]]) -> None:
    readers = {"web": (reader(samples), 1.0)}
    row = [b.keys[0] for b in TrainingData(training_config(readers, batch_size=1), seed=4).epoch(1)]
    seen: list[str] = []
    for batch_size, world in sizes:
        config, taken = training_config(readers, batch_size=batch_size), len(seen)
        for rank in range(world):
            data = TrainingData(config, seed=4, rank=rank, world=world)
            seen += [key for batch in itertools.islice(data.epoch(1, taken), 1) for key in batch.keys]
    assert seen == row[: len(seen)]


def test_epochs_and_seeds_differ_in_order_texts_and_augmentation() -> None:
    config = training_config({"web": (reader(8), 1.0)})
    data = TrainingData(config, seed=1)
    first, second, third = (
        list(d.epoch(e)) for d, e in ((data, 0), (data, 1), (TrainingData(config, seed=2), 0))
    )
    for other in (second, third):
        assert [b.keys for b in first] != [b.keys for b in other]
        images = {key: image for b in other for key, image in zip(b.keys, b.images, strict=True)}
        changed = [
            not torch.equal(images[key], image)
            for b in first
            for key, image in zip(b.keys, b.images, strict=True)
        ]
        assert all(changed)


def test_both_copies_of_a_sample_in_one_epoch_are_augmented_differently() -> None:
    data = TrainingData(training_config({"web": (reader(2), 2.0)}), seed=0)
    (batch,) = data.epoch(0)
    assert Counter(batch.keys) == {"0": 2, "1": 2}
    assert len({image.numpy().tobytes() for image in batch.images}) == 4


def test_all_texts_of_a_sample_are_drawn_over_time() -> None:
    data = TrainingData(training_config({"web": (reader(8), 1.0)}), seed=0)
    drawn = {text for epoch in range(12) for batch in data.epoch(epoch) for text in batch.texts}
    assert drawn == {f"{letter} {n}" for letter in "ab" for n in range(8)}


def test_captions_in_turn_come_once_in_as_many_passes_as_there_are() -> None:
    samples = [sample(n, texts=tuple(f"{letter} {n}" for letter in "abc")) for n in range(6)]
    config = training_config({"web": (ListReader(samples), 1.0)}, captions="in_turn", batch_size=3)
    data = TrainingData(config, seed=0)
    first, *rest = ([text for batch in data.epoch(epoch) for text in batch.texts] for epoch in range(3))
    assert {text[0] for text in first} == set("abc")
    assert Counter(first + rest[0] + rest[1]) == Counter(
        f"{letter} {n}" for letter in "abc" for n in range(6)
    )


def test_shares_make_an_epoch_of_a_given_length() -> None:
    sources = {
        name: SourceConfig(reader=Built(reader(count, prefix=name)), share=share)
        for name, count, share in (("w", 50, 0.75), ("h", 4, 0.25))
    }
    data = TrainingData(training_config({}, sources=sources, samples_per_epoch=24), seed=0)
    assert len(data) == 24
    drawn = Counter(key for batch in data.epoch(0) for key in batch.keys)
    assert sum(count for key, count in drawn.items() if key[0] == "w") == 18
    assert Counter(count for key, count in drawn.items() if key[0] == "h") == {1: 2, 2: 2}


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, ["reader"]),
        ({"reader": 1, "stream": 1, "samples": 5}, ["reader"]),
        ({"stream": 1}, ["samples"]),
        ({"reader": 1, "samples": 5}, ["samples"]),
        ({"reader": 1, "share": 0.5, "weight": 2}, ["share"]),
        ({"stream": 1, "share": 0.5}, []),
    ],
)
def test_contradictions_of_a_source(changes: dict[str, Any], fields: list[str]) -> None:
    assert [field for field, _ in SourceConfig(**changes).check()] == fields


def test_an_epochs_length_goes_with_shares() -> None:
    sources = {
        "web": SourceConfig(reader=Built(reader(3)), share=1),
        "h": SourceConfig(reader=Built(reader(3))),
    }
    for samples, problem in ((None, "source 'web' has a `share`"), (9, "'h' has none")):
        ((field, message),) = DataConfig(sources=sources, samples_per_epoch=samples).check()
        assert field == "samples_per_epoch"
        assert problem in message


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 2])
def test_pinned_batches_are_the_same(workers: int) -> None:
    readers = {"web": (reader(9), 1.0)}
    pinned = list(TrainingData(training_config(readers, workers=workers), seed=0, pin=True).epoch(0))
    assert all(batch.images.is_pinned() and batch.image_ids.is_pinned() for batch in pinned)
    moved = [batch.to("cuda").to("cpu") for batch in pinned]
    assert equal(moved, list(TrainingData(training_config(readers), seed=0).epoch(0)))


def test_weights_are_passes_per_epoch() -> None:
    readers = {"web": (reader(20, prefix="w"), 0.5), "human": (reader(5, prefix="h"), 2.0)}
    data = TrainingData(training_config(readers), seed=0)
    counts = Counter(key for epoch in range(2) for batch in data.epoch(epoch) for key in batch.keys)
    assert {counts[f"w{n}"] for n in range(20)} == {1}
    assert {counts[f"h{n}"] for n in range(5)} == {4}


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 24),
    bad=st.sets(st.integers(0, 23)),
    batch_size=st.integers(1, 30),
    weight=st.sampled_from([0.3, 1.0, 2.5]),
    workers=st.sampled_from([0, 0, 0, 2]),
    epoch=st.integers(0, 3),
)
def test_the_accounts_of_an_epoch_add_up(
    count: int, bad: set[int], batch_size: int, weight: float, workers: int, epoch: int
) -> None:
    bad = {n for n in bad if n < count}
    config = training_config(
        {"web": (reader(count, bad), weight), "other": (reader(6, prefix="o"), 1.0)},
        batch_size=batch_size,
        workers=workers,
    )
    data = TrainingData(config, seed=3)
    if len(bad) == count:
        with pytest.raises(DataError, match=f"none of its {count} samples can be used .*unreadable image"):
            for each in range(60):  # an epoch may leave this source over
                list(data.epoch(each))
        return
    batches = list(data.epoch(epoch))
    accounts = data.accounts
    assert accounts.offered == accounts.used + accounts.quarantined + accounts.left_over == len(data)
    assert accounts.used + accounts.quarantined == sum(len(batch) for batch in batches)
    assert len(batches) == data.batches_per_epoch
    sizes = {len(batch) for batch in batches}
    assert sizes == ({batch_size} if len(data) >= batch_size else {len(data)})
    assert accounts.left_over < batch_size
    assert not {str(n) for n in bad} & {key for batch in batches for key in batch.keys}
    assert {entry.key for entry in data.quarantine.entries} <= {str(n) for n in bad}
