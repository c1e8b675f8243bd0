from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.data.configs import DataConfig, SourceConfig
from mmtk.data.pipeline import Accounts, Built, TrainingData
from mmtk.data.readers.webdataset_stream import WebDatasetStream
from mmtk.errors import DataError
from mmtk.types import Batch

from .samples import ListReader, equal, pair, picture, sample, training_config, write_tar
from .streams import ShardList


def config(stream: Any, samples: int, *, buffer: int = 3, readers: Any = (), **changes: Any) -> DataConfig:
    sources = {name: SourceConfig(reader=Built(reader)) for name, reader in dict(readers).items()}
    sources["web"] = SourceConfig(stream=Built(stream), samples=samples, shuffle_buffer=buffer)
    return training_config({}, **({"sources": sources, "batch_size": 2} | changes))


def keys(batches: Sequence[Batch]) -> list[str]:
    return [key for batch in batches for key in batch.keys]


def human() -> ListReader:
    return ListReader([sample(n, key=f"h{n}") for n in range(4)])


def saved(data: TrainingData) -> dict[str, Any]:
    """The state as it comes back from a file."""
    state: dict[str, Any] = json.loads(json.dumps(data.state()))
    return state


def test_an_epoch_takes_the_next_samples_of_a_stream() -> None:
    stream = ShardList([5, 4, 3])
    data = TrainingData(config(stream, 6), seed=0)
    assert len(data) == 6
    epochs = [keys(list(data.epoch(epoch))) for epoch in range(4)]
    assert [len(epoch) for epoch in epochs] == [6] * 4
    first, second = epochs[0] + epochs[1], epochs[2] + epochs[3]
    assert set(first) == set(second) == stream.keys
    assert first != second


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    bad=st.frozensets(
        st.sampled_from([f"{shard}/{n}" for shard in range(4) for n in range(1, 6)]), max_size=6
    ),
    world=st.integers(1, 2),
    workers=st.sampled_from([0, 0, 0, 0, 2]),
    stop=st.integers(1, 7),
    buffer=st.integers(1, 7),
)
def test_a_run_that_stops_anywhere_goes_on_with_the_same_batches(
    sizes: list[int], bad: frozenset[str], world: int, workers: int, stop: int, buffer: int
) -> None:
    def opened(rank: int, workers: int) -> TrainingData:
        stream = ShardList(sizes, bad)
        options = config(stream, 8, buffer=buffer, readers={"human": human()}, workers=workers)
        return TrainingData(options, seed=3, rank=rank, world=world)

    ranks = [opened(rank, 0) for rank in range(world)]
    steps = ranks[0].batches_per_epoch
    whole = [[b for epoch in range(3) for b in data.epoch(epoch)] for data in ranks]
    stopped = [opened(rank, workers) for rank in range(world)]
    for data in stopped:
        for done, batch in enumerate((b for epoch in range(3) for b in data.epoch(epoch)), 1):
            assert equal([batch], [whole[data.rank][done - 1]])
            if done == stop:
                break
    states = [saved(data) for data in stopped]
    for rank in range(world):
        fresh = opened(rank, workers)
        fresh.load_state(states)
        epoch, offset = divmod(stop, steps)
        rest = list(fresh.epoch(epoch, offset * fresh.global_batch))
        rest += [b for later in range(epoch + 1, 3) for b in fresh.epoch(later)]
        assert equal(rest, whole[rank][stop:])


@pytest.mark.parametrize(("workers", "prefetch"), [(1, 1), (3, 1), (2, 5)])
def test_batches_depend_on_neither_workers_nor_prefetch(workers: int, prefetch: int) -> None:
    def opened(**options: int) -> TrainingData:
        stream = ShardList([5, 4, 30], frozenset({"0/1", "2/4", "2/5", "2/6"}))
        return TrainingData(config(stream, 20, readers={"human": human()}, **options), seed=1)

    plain, other = opened(), opened(workers=workers, prefetch=prefetch)
    for epoch in range(3):
        assert equal(list(plain.epoch(epoch)), list(other.epoch(epoch)))
        assert plain.accounts == other.accounts
        assert saved(plain) == saved(other)
    assert {entry.key for entry in other.quarantine.entries} == {"0/1", "2/4", "2/5", "2/6"}


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_that_is_given_up_takes_nothing_with_it_that_was_read_ahead(workers: int) -> None:
    stream = ShardList([20, 20])
    whole = list(TrainingData(config(stream, 12), seed=1).epoch(0))
    data = TrainingData(config(stream, 12, workers=workers, prefetch=3), seed=1)
    begun = data.epoch(0)
    first = [next(begun), next(begun)]
    del begun
    assert equal(first + list(data.epoch(0, 4)), whole)


def test_another_number_of_ranks_goes_on_with_what_is_pending() -> None:
    stream = ShardList([7, 5, 9, 3], frozenset({"2/2"}))
    old = [TrainingData(config(stream, 30), seed=2, rank=rank, world=2) for rank in range(2)]
    seen = [key for data in old for batch in itertools.islice(data.epoch(0), 3) for key in batch.keys]
    new = [TrainingData(config(stream, 30, batch_size=1), seed=2, rank=rank, world=3) for rank in range(3)]
    for data in new:
        data.load_state([saved(each) for each in old])
        for batch in itertools.chain(data.epoch(0, 12), data.epoch(1)):
            if data.state()["web"]["turn"] > 1:  # this one is of the next pass
                break
            seen += batch.keys
    assert Counter(seen) == Counter(dict.fromkeys(stream.keys, 1))


def test_a_bad_sample_is_replaced_by_the_next_and_counted() -> None:
    stream = ShardList([6], frozenset({"0/1", "0/2", "0/4"}))
    data = TrainingData(config(stream, 6, buffer=1, batch_size=3), seed=0)
    assert keys(list(data.epoch(0))) == ["0/0", "0/3", "0/5"] * 2
    # 0/1 is refused as the shard is read; only what was to come in a batch is replaced.
    assert data.accounts == Accounts(offered=6, used=2, quarantined=4)
    reasons = {entry.key: entry.reason.partition(":")[0] for entry in data.quarantine.entries}
    assert reasons == {"0/1": "no text", "0/2": "unreadable image", "0/4": "unreadable image"}


def test_a_stream_of_which_nothing_can_be_used_names_its_source() -> None:
    bad = frozenset({"0/0", "0/2", "1/0"})
    for workers in (0, 2):
        data = TrainingData(config(ShardList([4, 1], bad | {"0/1", "0/3"}), 6, workers=workers), seed=0)
        with pytest.raises(
            DataError, match=r"source 'web': none of the samples .* the first: 0/0: unreadable im"
        ):
            list(data.epoch(0))
        data = TrainingData(config(ShardList([0, 0]), 6, workers=workers), seed=0)
        with pytest.raises(DataError, match="source 'web': nothing can be read from 2 shards in a row"):
            list(data.epoch(0))


def test_a_state_of_other_shards_is_refused() -> None:
    data = TrainingData(config(ShardList([4, 4]), 6), seed=0)
    other = TrainingData(config(ShardList([4, 4, 4]), 6), seed=0)
    with pytest.raises(DataError, match="source 'web': the saved state is about other shards"):
        other.load_state([saved(data)])
    with pytest.raises(DataError, match="source 'web': the saved state"):
        other.load_state([{}])


def test_readers_alone_have_no_state() -> None:
    data = TrainingData(training_config({"human": (human(), 1.0)}), seed=0)
    list(data.epoch(0))
    assert data.state() == {}
    data.load_state([{}, {}])


@pytest.mark.parametrize("remote", [False, True])
def test_tar_shards_with_a_broken_one(tmp_path: Path, remote: bool) -> None:
    for shard in range(3):
        members = [m for n in range(4) for m in pair(f"{shard}{n}", image=picture(8, 8, seed=n))]
        write_tar(tmp_path / f"web-{shard}.tar", members)
    whole = (tmp_path / "web-1.tar").read_bytes()
    (tmp_path / "web-1.tar").write_bytes(whole[: whole.index(b"12.txt") + 100])
    place = str(tmp_path)
    if remote:
        place = f"memory://streams-{tmp_path.name}"
        for path in tmp_path.iterdir():
            with fsspec.open(f"{place}/{path.name}", "wb") as file:
                file.write(path.read_bytes())
    data = (
        TrainingData(config(WebDatasetStream(f"{place}/web-{{0..3}}.tar"), 10), seed=0)
        if remote
        else (TrainingData(config(WebDatasetStream(place), 10), seed=0))
    )
    good = {f"{shard}{n}" for shard in range(3) for n in range(4)} - {"12", "13"}
    assert sorted(keys(list(data.epoch(0)))) == sorted(good)
    entries = {entry.key: entry.reason.partition(":")[0] for entry in data.quarantine.entries}
    assert entries.pop("web-3.tar", "") == ("unreadable shard" if remote else "")
    assert entries
    assert all("shard" in reason for reason in entries.values())


def test_shares_of_an_epoch_and_a_stream_among_them() -> None:
    sources = {
        "human": SourceConfig(reader=Built(human()), share=1),
        "web": SourceConfig(stream=Built(ShardList([9, 9])), share=3),
    }
    data = TrainingData(training_config({}, sources=sources, samples_per_epoch=40), seed=0)
    drawn = keys(list(data.epoch(0)))
    assert len(drawn) == 40
    assert Counter(key[0] == "h" for key in drawn) == {True: 10, False: 30}
