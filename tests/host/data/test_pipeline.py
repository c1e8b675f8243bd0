from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmtk.data.configs import DataConfig, EvaluationDataConfig, ImageLimits, SourceConfig
from mmtk.data.parallel import ordered_map
from mmtk.data.pipeline import Accounts, Built, EvaluationData, TrainingData
from mmtk.data.readers.webdataset import WebDatasetReader
from mmtk.errors import DataError
from mmtk.types import Batch, Quarantined, RawSample, stable_hash

from .samples import (
    TEST_TRANSFORMS,
    ListReader,
    encode,
    pair,
    picture,
    sample,
    training_config,
    write_tar,
)


def equal(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        a.keys == b.keys
        and a.texts == b.texts
        and torch.equal(a.images, b.images)
        and torch.equal(a.image_ids, b.image_ids)
        for a, b in zip(first, second, strict=True)
    )


def reader(count: int, bad: set[int] = frozenset(), prefix: str = "") -> ListReader:  # type: ignore[assignment]
    samples = [
        sample(
            n,
            key=f"{prefix}{n}",
            image=b"broken" if n in bad else picture(seed=n),
            texts=(f"a {n}", f"b {n}"),
        )
        for n in range(count)
    ]
    return ListReader(samples)


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


@pytest.mark.parametrize(("limit", "passes"), [(2, False), (3, True), (0.4, True)])
def test_training_stops_when_too_much_cannot_be_used(limit: float, passes: bool) -> None:
    config = training_config({"web": (reader(9, {1, 2, 3}), 1.0)}, max_quarantined=limit)
    data = TrainingData(config, seed=0)
    if passes:
        assert sum(len(batch) for epoch in range(4) for batch in data.epoch(epoch)) == 32
        return
    with pytest.raises(
        DataError, match="3 samples can't be used, and max_quarantined is 2: unreadable image 3"
    ):
        list(data.epoch(0))
        list(data.epoch(1))


@pytest.mark.parametrize(("limit", "passes"), [(0.4, True), (0.1, False)])
def test_a_share_is_of_different_samples(limit: float, passes: bool) -> None:
    bad = set(range(50))  # side by side, a quarter of all
    config = training_config({"web": (reader(200, bad), 1.0)}, max_quarantined=limit, batch_size=50)
    data = TrainingData(config, seed=0)
    if not passes:
        with pytest.raises(
            DataError, match=r"\d+ of \d+ samples can't be used, and max_quarantined is 0.1: unr"
        ):
            list(data.epoch(0))
        return
    for epoch in range(3):
        list(data.epoch(epoch))
    assert len(data.quarantine) == 50


def test_evaluation_stops_when_too_much_cannot_be_used() -> None:
    image_transform, text_transform = TEST_TRANSFORMS
    config = EvaluationDataConfig(
        reader=Built(reader(9, {1, 2, 3})),
        image_transform=Built(image_transform),
        text_transform=Built(text_transform),
        max_quarantined=2,
    )
    with pytest.raises(DataError, match="3 samples can't be used, and max_quarantined is 2"):
        list(EvaluationData(config))


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


def test_every_kind_of_bad_sample_is_quarantined_and_stops_nothing(tmp_path: Path) -> None:
    members = [member for n in range(10) for member in pair(f"good{n}", image=picture(seed=n))]
    members += pair("corrupt", image=picture()[:60])
    members += pair("html", image=b"<html>")
    members += pair("dot", image=encode(Image.new("RGB", (1, 1))))
    members += pair("strip", image=encode(Image.new("RGB", (20000, 10))))
    members += pair("blank", b" ")
    members += pair("points", b"...")
    members += pair("latin", b"caf\xe9")
    members += pair("good0") + pair("notext", None)
    whole = write_tar(tmp_path / "a.tar", [*members, *pair("cut", image=picture(seed=99))])
    end = whole.read_bytes().index(b"cut.png")
    whole.write_bytes(whole.read_bytes()[: end + 600])
    config = training_config({"web": (WebDatasetReader(tmp_path), 1.0)}, batch_size=5)  # type: ignore[dict-item]
    data = TrainingData(config, seed=0)
    batches = [batch for epoch in range(2) for batch in data.epoch(epoch)]
    assert {len(batch) for batch in batches} == {5}
    assert {key for batch in batches for key in batch.keys} == {f"good{n}" for n in range(10)}
    kinds = {entry.key: entry.reason.partition(":")[0] for entry in data.quarantine.entries}
    assert kinds == {
        "corrupt": "unreadable image",
        "html": "unreadable image",
        "dot": "image too small",
        "strip": "image too elongated",
        "blank": "empty text",
        "points": "empty text",
        "latin": "text is not UTF-8",
        "good0": "duplicate key",
        "notext": "no text",
        "cut": "cut-off shard",
    }
    assert {entry.location for entry in data.quarantine.entries} == {str(whole)}


def test_limits_and_one_bad_text_of_several() -> None:
    samples = [sample(n, texts=("...", "fine", "")) for n in range(4)]
    data = TrainingData(training_config({"web": (ListReader(samples), 1.0)}), seed=0)
    (batch,) = data.epoch(0)
    assert batch.texts == ("fine",) * 4
    limits = ImageLimits(min_edge=17)
    data = TrainingData(training_config({"web": (ListReader(samples), 1.0)}, limits=limits), seed=0)
    with pytest.raises(DataError, match=r"source 'web': none of its 4 samples .*image too small: 20x16"):
        list(data.epoch(0))


class Failing:
    """A blueprint whose reader can't be opened."""

    def build(self, **_: object) -> ListReader:
        raise DataError("no such file: x.tar")


def test_sources_that_cannot_be_used_are_named() -> None:
    with pytest.raises(DataError, match="source 'web': it holds no usable sample"):
        TrainingData(training_config({"web": (ListReader([]), 1.0)}), seed=0)
    refused = ListReader([], [Quarantined("k", "no text", "a.tar")])
    with pytest.raises(DataError, match=r"\(1 quarantined, the first: k: no text\)"):
        TrainingData(training_config({"web": (refused, 1.0)}), seed=0)
    with pytest.raises(DataError, match="no sources"):
        TrainingData(training_config({}), seed=0)
    config = training_config({"web": (reader(1), 1.0)})
    object.__setattr__(config.sources["web"], "reader", Failing())
    with pytest.raises(DataError, match=r"source 'web': no such file: x\.tar"):
        TrainingData(config, seed=0)


def test_readers_that_raise_a_plain_data_error_and_index_quarantine() -> None:
    flawed = ListReader([sample(0), None, sample(2)], [Quarantined("k", "no text", "a.tar")])
    data = TrainingData(training_config({"web": (flawed, 1.0)}, batch_size=3), seed=0)
    list(data.epoch(0))
    assert data.accounts == Accounts(offered=3, used=2, quarantined=1, left_over=0)
    assert [(e.key, e.reason) for e in data.quarantine.entries] == [("sample 1", "gone: 1"), ("k", "no text")]


def evaluation(samples: list[RawSample | None], **options: int) -> EvaluationData:
    return EvaluationData.of(ListReader(samples), *TEST_TRANSFORMS, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_keeps_the_order_and_the_short_last_batch(workers: int) -> None:
    samples: list[RawSample | None] = [sample(n, texts=(f"First {n}!", f"second {n}")) for n in range(10)]
    data = evaluation(samples, batch_size=4, workers=workers)
    assert len(data) == 3
    batches = list(data)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert [key for batch in batches for key in batch.keys] == [f"key{n:04d}" for n in range(10)]
    assert batches[2].texts == ("first 8", "first 9")
    assert equal(batches, list(data))
    assert data.texts_of("key0003") == ("first 3", "second 3")
    assert data.raw("key0003") == samples[3]


def test_evaluation_finds_samples_before_any_pass() -> None:
    data = evaluation([sample(0), None, sample(2)])
    assert data.raw("key0002").texts == ("text 2",)
    with pytest.raises(DataError, match="no sample with the key 'nothing'"):
        data.raw("nothing")
    assert [entry.key for entry in data.quarantine.entries] == ["sample 1"]


@settings(max_examples=40, deadline=None)
@given(
    good=st.lists(st.booleans(), min_size=1, max_size=20),
    batch_size=st.integers(1, 8),
    refused=st.integers(0, 3),
)
def test_the_accounts_of_an_evaluation_add_up(good: list[bool], batch_size: int, refused: int) -> None:
    samples = [sample(n) if fine else sample(n, image=b"broken") for n, fine in enumerate(good)]
    index = [Quarantined(f"index{n}", "no text", "a.tar") for n in range(refused)]
    data = EvaluationData.of(ListReader(samples, index), *TEST_TRANSFORMS, batch_size=batch_size)
    for _ in range(2):
        batches = list(data)
        assert all(len(batch) for batch in batches)
        assert data.accounts == Accounts(len(good) + refused, sum(good), len(good) - sum(good) + refused, 0)
        assert sum(len(batch) for batch in batches) == data.accounts.used
        assert len(data.quarantine) == data.accounts.quarantined


def test_evaluation_from_a_config() -> None:
    image_transform, text_transform = TEST_TRANSFORMS
    config = EvaluationDataConfig(
        reader=Built(reader(5)), image_transform=Built(image_transform), text_transform=Built(text_transform)
    )
    (batch,) = EvaluationData(config)
    assert batch.images.shape == (5, 3, 12, 12)
    with pytest.raises(DataError, match="no usable sample"):
        evaluation([])


def slowly(number: int) -> int:
    time.sleep(0.002 * (number % 3))
    return number * number


def failing_at(bad: int) -> Callable[[int], int]:
    def function(number: int) -> int:
        if number == bad:
            raise DataError("as it was raised")
        return number

    return function


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_ordered_map(workers: int) -> None:
    assert list(ordered_map(slowly, range(20), workers)) == [n * n for n in range(20)]
    assert list(ordered_map(slowly, range(0), workers)) == []
    results = ordered_map(failing_at(3), range(20), workers)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError) as caught:
        next(results)
    assert str(caught.value) == "as it was raised"
