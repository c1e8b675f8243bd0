"""Samples and sources that can't be used, and how many of them may be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image

from mmtk.data.configs import ImageLimits, SourceConfig
from mmtk.data.pipeline import Accounts, Built, TrainingData
from mmtk.data.readers.webdataset import WebDatasetReader
from mmtk.errors import DataError
from mmtk.types import Quarantined, RawSample

from .samples import ListReader, encode, pair, picture, reader, sample, training_config, write_tar


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


def side_by_side(limit: float | None, workers: int, stream: bool) -> TrainingData:
    """Batches of 32 from 64 samples, of which all but a few at the end are broken."""
    samples = [sample(n, image=picture() if n > 60 else b"broken") for n in range(64)]
    config = training_config({"web": (ListReader(samples), 1.0)}, batch_size=32)
    if stream:
        shards = Shards(samples)
        config = dataclasses.replace(config, sources={"web": SourceConfig(stream=Built(shards), samples=64)})
    return TrainingData(dataclasses.replace(config, max_quarantined=limit, workers=workers), seed=0)


class Shards:
    """A stream of one shard."""

    shards = ("memory.tar",)

    def __init__(self, samples: Sequence[RawSample]) -> None:
        self._samples = samples

    def read(self, _shard: str) -> Iterator[RawSample]:
        yield from self._samples


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("stream", [False, True])
def test_training_stops_at_the_first_sample_past_the_limit(workers: int, stream: bool) -> None:
    data = side_by_side(3, workers, stream)
    with pytest.raises(DataError) as caught:
        next(data.epoch(0))
    assert str(caught.value).startswith(
        "4 samples can't be used, and max_quarantined is 3: unreadable image 4."
    )
    assert str(caught.value).count("\n") == 3
    assert len(data.quarantine) == 4
