"""Samples of shards that can only be read from front to back, shuffled as far as a buffer reaches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from mmtk.data.mixture import permutation
from mmtk.data.positions import Place, Position, Unit, deal_units
from mmtk.data.readers.addresses import describe
from mmtk.errors import DataError
from mmtk.kinds import Stream
from mmtk.printable import printable
from mmtk.types import Quarantined, RawSample, stable_hash

TRIES = 4
HOPELESS = (DataError, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
MANY = 100  # shards in a row without a sample, after which there is no point in reading on
FIRST_WAIT = 1.0  # seconds before the second try; doubled with each further one


class Drawn(NamedTuple):
    """A sample of a stream, with where the stream stands behind it."""

    place: Place
    sample: RawSample
    behind: Position


class ShuffledStream:
    """What one rank sees of a stream: pass after pass, without end.

    In each pass the shards are shuffled and dealt to the ranks anew. A rank reads its shards one after the
    other into a buffer, and what comes next is drawn from the buffer. A pass ends with an empty buffer, so
    that each sample comes once in it. All of it depends on the seed, the rank and the position alone.

    Args:
        name: the source's name.
        buffer: how many samples the buffer holds.
        refuse: takes what can't be used. A shard that can't be opened, or that breaks off, never ends the
            stream; only many in a row do, or all there are, that give nothing.

    Attributes:
        shards_id: what stands for the shards and their order in a saved state.
        patience: passes without any usable sample after which there is none.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        name: str,
        seed: int,
        rank: int,
        world: int,
        buffer: int,
        refuse: Callable[[Quarantined], None],
    ) -> None:
        self.stream = stream
        self.name, self.seed, self.rank, self.world = name, seed, rank, world
        # With several ranks, one may be dealt nothing but broken shards for a few passes.
        self.patience = 1 if world == 1 else 2 * world
        self._most_barren = min(MANY, len(stream.shards))
        self.shards_id = stable_hash(*stream.shards)
        self._size = buffer
        self._refuse = refuse

    def deal(self, turn: int, rank: int, world: int) -> Sequence[Unit]:
        """Return what a rank gets of a pass."""
        order = permutation(len(self.stream.shards), self.seed, "shards", self.name, turn)
        return deal_units(order.tolist(), turn, rank, world)

    def read(self, position: Position) -> Iterator[Drawn]:
        """Yield the samples behind ``position``. Raises DataError when nothing at all can be read."""
        reading = _Reading(self.items, self._refuse, self._most_barren, position)
        turn, drawn = position.turn, position.drawn
        while True:
            reading.fill(self._size)
            if not reading.places:
                reading.begin(self.deal(turn, self.rank, self.world))
                turn += 1
                continue
            choice = stable_hash(self.seed, "buffer", self.name, self.rank, drawn) % len(reading.places)
            drawn += 1
            place, sample = reading.take(choice)
            behind = Position(turn, reading.units, reading.done, reading.start, tuple(reading.places), drawn)
            yield Drawn(place, sample, behind)

    def items(self, shard: int) -> Iterator[tuple[int, RawSample | Quarantined]]:
        """Yield a shard's samples, numbered, and try again where reading fails on the way.

        What fails for good ends in an entry for the quarantine.
        """
        address = self.stream.shards[shard]
        number, wait, problem = 0, FIRST_WAIT, ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(wait)
                wait *= 2
            try:
                for each, item in enumerate(self.stream.read(address)):
                    if each == number:
                        yield each, item
                        number += 1
                return
            except HOPELESS as error:
                problem = describe(error)
                break
            except Exception as error:  # every store has error types of its own
                problem = f"{describe(error)} ({TRIES} tries)"
        location = printable(address)
        reason = f"unreadable shard: {printable(problem)}"
        yield number, Quarantined(location.rpartition("/")[2], reason, location)


class _Reading:
    """The buffer and what fills it."""

    def __init__(
        self,
        items: Callable[[int], Iterator[tuple[int, RawSample | Quarantined]]],
        refuse: Callable[[Quarantined], None],
        most_barren: int,
        position: Position,
    ) -> None:
        self.units, self.done, self.start = position.units, position.done, position.start
        self.places: list[Place] = []
        self.barren: set[int] = set()  # shards that gave nothing, since one gave a sample
        self._samples: list[RawSample] = []
        self._items = items
        self._refuse = refuse
        self._most_barren = most_barren
        self._open: Iterator[tuple[int, RawSample | Quarantined]] | None = None
        self._refill(position.buffer)

    def begin(self, units: Sequence[Unit]) -> None:
        """Take up the units of a new pass."""
        self.units, self.done, self.start = tuple(units), 0, 0

    def fill(self, size: int) -> None:
        """Read until the buffer holds ``size`` samples, or all units are done."""
        while len(self.places) < size and self.done < len(self.units):
            unit = self.units[self.done]
            if self._open is None:
                self._open = self._items(unit.shard)
                self.start = max(self.start, unit.start)
                self.barren.add(unit.shard)
            for number, item in self._open:
                if isinstance(item, RawSample):
                    self.barren.clear()
                if number < self.start:
                    continue
                self.start = number + 1
                if number % unit.parts != unit.part:
                    continue
                if isinstance(item, Quarantined):
                    self._refuse(item)
                    continue
                self._add(Place(unit.turn, unit.shard, number), item)
                if len(self.places) >= size:
                    return
            self._open, self.start, self.done = None, 0, self.done + 1
            if len(self.barren) >= self._most_barren and not self.places:
                raise DataError(f"nothing can be read from {len(self.barren)} shards in a row")

    def take(self, choice: int) -> tuple[Place, RawSample]:
        """Take a sample out of the buffer; the last one moves into its place."""
        place, sample = self.places[choice], self._samples[choice]
        last_place, last_sample = self.places.pop(), self._samples.pop()
        if choice < len(self.places):
            self.places[choice], self._samples[choice] = last_place, last_sample
        return place, sample

    def _add(self, place: Place, sample: RawSample) -> None:
        self.places.append(place)
        self._samples.append(sample)

    def _refill(self, places: Sequence[Place]) -> None:
        """Read the buffer's samples again, each of their shards once and no further than needed."""
        wanted: dict[int, set[int]] = {}
        for place in places:
            wanted.setdefault(place.shard, set()).add(place.number)
        current = self.units[self.done] if self.done < len(self.units) else None
        again: dict[tuple[int, int], RawSample] = {}
        for shard, numbers in wanted.items():
            items = self._items(shard)
            resumes = current is not None and current.shard == shard
            # The shard that is read next is left open where it goes on.
            stop = max(self.start, current.start) - 1 if resumes and current is not None else max(numbers)
            if resumes and max(numbers) > stop:
                resumes, stop = False, max(numbers)
            for number, item in items:
                if number in numbers and isinstance(item, RawSample):
                    again[shard, number] = item
                if number >= stop:
                    break
            if resumes:
                self._open = items
                self.start = stop + 1
        for place in places:
            if (place.shard, place.number) in again:
                self._add(place, again[place.shard, place.number])
