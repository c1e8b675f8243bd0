from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.data import shuffled_stream
from mmtk.data.positions import Place, Position, deal_anew, deal_units
from mmtk.data.shuffled_stream import Drawn, ShuffledStream
from mmtk.errors import DataError
from mmtk.types import Quarantined, RawSample

from .streams import ShardList

SIZES = st.lists(st.integers(0, 6), min_size=1, max_size=5).filter(any)
PASSES = 3


def shuffled(
    stream: ShardList, rank: int = 0, world: int = 1, buffer: int = 3, seed: int = 1
) -> ShuffledStream:
    return ShuffledStream(
        stream,
        name="web",
        seed=seed,
        rank=rank,
        world=world,
        buffer=buffer,
        refuse=[].append,
    )


def places(stream: ShuffledStream, position: Position | None = None, until: int = PASSES) -> Iterator[Place]:
    """The places of the passes before ``until``."""
    read = stream.read(position or Position())
    return itertools.takewhile(lambda place: place.turn < until, (drawn.place for drawn in read))


def each_once(sizes: list[int]) -> Counter[Place]:
    """Every sample in every pass."""
    return Counter(
        Place(turn, shard, number)
        for turn in range(PASSES)
        for shard, size in enumerate(sizes)
        for number in range(size)
    )


@settings(max_examples=80, deadline=None)
@given(sizes=SIZES, world=st.integers(1, 4), buffer=st.integers(1, 9), seed=st.integers(0, 9))
def test_each_pass_brings_every_sample_once_to_one_rank(
    sizes: list[int], world: int, buffer: int, seed: int
) -> None:
    stream = ShardList(sizes)
    seen: Counter[Place] = Counter()
    for rank in range(world):
        mine = list(places(shuffled(stream, rank, world, buffer, seed)))
        assert [place.turn for place in mine] == sorted(place.turn for place in mine)
        seen.update(mine)
    assert seen == each_once(sizes)


@settings(max_examples=80, deadline=None)
@given(
    sizes=SIZES,
    world=st.integers(1, 3),
    buffer=st.integers(1, 9),
    taken=st.integers(1, 25),
)
def test_reading_goes_on_from_any_position(sizes: list[int], world: int, buffer: int, taken: int) -> None:
    stream = ShardList(sizes, frozenset({"0/1"}))
    whole = shuffled(stream, 0, world, buffer)
    drawn = list(itertools.islice(whole.read(Position()), taken + 20))
    position = Position.from_json(drawn[taken - 1].behind.to_json())
    again = list(itertools.islice(shuffled(stream, 0, world, buffer).read(position), 20))
    assert [(d.place, d.sample.key) for d in again] == [(d.place, d.sample.key) for d in drawn[taken:]]
    assert [d.behind.to_json() for d in again] == [d.behind.to_json() for d in drawn[taken:]]


@settings(max_examples=120, deadline=None)
@given(
    sizes=SIZES,
    taken=st.lists(st.integers(0, 14), min_size=1, max_size=4),
    worlds=st.lists(st.integers(1, 4), min_size=1, max_size=2),
    buffer=st.integers(1, 9),
    later=st.integers(0, 5),
)
def test_another_number_of_ranks_misses_nothing_and_repeats_nothing(
    sizes: list[int], taken: list[int], worlds: list[int], buffer: int, later: int
) -> None:
    """Ranks that read unequally far, and perhaps came to different passes, hand over twice."""
    stream = ShardList(sizes)
    seen: Counter[Place] = Counter()
    positions = [Position() for _ in taken]
    counts = taken
    for world in worlds:
        behind = []
        for rank, position in enumerate(positions):
            count = counts[rank % len(counts)]
            read = shuffled(stream, rank, len(positions), buffer).read(position)
            drawn: list[Drawn] = list(itertools.islice(read, count))
            seen.update(each.place for each in drawn)
            behind.append(drawn[-1].behind if drawn else position)
        deal = shuffled(stream).deal
        positions = [deal_anew(behind, deal, rank, world) for rank in range(world)]
        counts = [later]
    for rank, position in enumerate(positions):
        last = max([PASSES, *(place.turn + 1 for place in seen), *(p.turn for p in positions)])
        seen.update(places(shuffled(stream, rank, len(positions), buffer), position, last))
    assert set(seen.values()) == {1}
    assert set(seen) >= set(each_once(sizes))


def test_passes_seeds_and_buffers_differ_in_order() -> None:
    stream = ShardList([6, 6, 6])
    order = list(places(shuffled(stream, buffer=6)))
    assert [place[1:] for place in order[:18]] != [place[1:] for place in order[18:36]]
    assert order != list(places(shuffled(stream, buffer=6, seed=2)))
    unshuffled = [place.number for place in places(shuffled(stream, buffer=1))]
    assert unshuffled == [*range(6)] * 9
    mixed = order[:9]
    assert len({place.shard for place in mixed}) > 1
    assert [place.number for place in mixed] != sorted(place.number for place in mixed)


def test_fewer_shards_than_ranks_are_shared() -> None:
    units = [unit for rank in range(5) for unit in deal_units([1, 0], 0, rank, 5)]
    assert sorted((unit.shard, unit.part) for unit in units) == [(s, p) for s in (0, 1) for p in range(3)]
    assert all(deal_units([1, 0], 0, rank, 5) for rank in range(5))


def test_going_on_reads_a_shard_of_the_buffer_only_as_far_as_needed() -> None:
    stream = ShardList([100, 100, 100])
    read = shuffled(stream, buffer=10).read(Position())
    behind = [next(read).behind for _ in range(150)][-1]
    stream.read_from.clear()
    next(shuffled(stream, buffer=10).read(behind))
    needed = Counter({stream.shards[behind.ahead[0].shard]: behind.ahead[0].start + 1})
    for place in behind.buffer:
        shard = stream.shards[place.shard]
        needed[shard] = max(needed[shard], place.number + 1)
    assert stream.read_from == needed


class Flaky(ShardList):
    """Shards of which reading fails: each time behind ``at`` samples, as often as ``times`` says."""

    def __init__(self, sizes: list[int], at: int, times: int, error: Exception) -> None:
        super().__init__(sizes)
        self.at, self.times, self.error = at, times, error

    def read(self, shard: str) -> Iterator[RawSample | Quarantined]:
        for number, item in enumerate(super().read(shard)):
            if shard == self.shards[0] and number == self.at and self.times:
                self.times -= 1
                raise self.error
            yield item


def draw(stream: ShardList, count: int) -> tuple[Counter[str], list[Quarantined]]:
    refused: list[Quarantined] = []
    reading = shuffled(stream)
    reading._refuse = refused.append
    return Counter(d.sample.key for d in itertools.islice(reading.read(Position()), count)), refused


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(shuffled_stream.time, "sleep", waited.append)
    return waited


@pytest.mark.parametrize("at", [0, 3])
def test_a_passing_failure_is_tried_again_and_leaves_no_trace(waits: list[float], at: int) -> None:
    stream = Flaky([5, 5], at, 3, ConnectionResetError(104, "reset by peer"))
    seen, refused = draw(stream, 10)
    assert seen == Counter(dict.fromkeys(stream.keys, 1))
    assert refused == []
    assert waits == [1.0, 2.0, 4.0]


def test_a_lasting_failure_is_quarantined_and_what_came_before_is_kept(waits: list[float]) -> None:
    seen, refused = draw(Flaky([5, 5], 3, 99, ConnectionResetError(104, "reset by peer")), 8)
    assert seen == Counter(f"{shard}/{n}" for shard, size in ((0, 3), (1, 5)) for n in range(size))
    assert refused == [Quarantined("0.tar", "unreadable shard: reset by peer (4 tries)", "memory/0.tar")]
    assert len(waits) == 3


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file"), DataError("No such file")])
def test_what_is_hopeless_is_not_tried_again(waits: list[float], error: Exception) -> None:
    seen, refused = draw(Flaky([5, 5], 0, 99, error), 5)
    assert set(seen) == {f"1/{n}" for n in range(5)}
    assert [entry.reason for entry in refused] == ["unreadable shard: No such file"]
    assert waits == []


@pytest.mark.parametrize(("shards", "world", "tried"), [(2, 1, 2), (2, 2, 2), (150, 1, 100), (3, 60, 3)])
def test_a_stream_of_which_nothing_can_be_read_is_an_error(shards: int, world: int, tried: int) -> None:
    with pytest.raises(DataError, match=f"nothing can be read from {tried} shards in a row"):
        next(shuffled(ShardList([0] * shards), 0, world).read(Position()))
