"""Where a shuffled stream stands, as plain numbers that can be saved and dealt out anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Unit(NamedTuple):
    """Work on a shard in one pass: its samples whose number modulo ``parts`` is ``part``, from ``start``."""

    turn: int
    shard: int
    part: int
    parts: int
    start: int


class Place(NamedTuple):
    """One sample: the pass it was dealt out in, its shard, and its number in the shard."""

    turn: int
    shard: int
    number: int


@dataclass(frozen=True)
class Position:
    """Where one rank's stream stands between two samples.

    Attributes:
        turn: the pass that is dealt out when these units are done.
        units: what this rank has of the passes before it.
        done: how many of the units are read whole.
        start: how far the next one is read: the number of the sample that comes next in its shard.
        buffer: samples that were read and haven't come yet.
        drawn: samples that came; the next one's choice is drawn from it.
    """

    turn: int = 0
    units: tuple[Unit, ...] = ()
    done: int = 0
    start: int = 0
    buffer: tuple[Place, ...] = ()
    drawn: int = 0

    @property
    def ahead(self) -> tuple[Unit, ...]:
        """The units that are not read whole."""
        ahead = self.units[self.done :]
        if not ahead:
            return ()
        return (ahead[0]._replace(start=max(self.start, ahead[0].start)), *ahead[1:])

    def to_json(self) -> dict[str, Any]:
        return {
            "turn": self.turn,
            "units": [list(unit) for unit in self.ahead],
            "buffer": [list(place) for place in self.buffer],
            "drawn": self.drawn,
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Position:
        units = tuple(Unit(*unit) for unit in state["units"])
        buffer = tuple(Place(*place) for place in state["buffer"])
        return cls(turn=state["turn"], units=units, buffer=buffer, drawn=state["drawn"])


Deal = Callable[[int, int, int], Sequence[Unit]]
"""What a rank gets of a pass: from the pass, the rank and the number of ranks."""


def deal_units(order: Sequence[int], turn: int, rank: int, world: int) -> tuple[Unit, ...]:
    """Deal a pass's shards to the ranks, in ``order``. Ranks share a shard where there are too few."""
    parts = -(-world // len(order))
    units = [Unit(turn, shard, part, parts, 0) for part in range(parts) for shard in order]
    # Ranks take turns, so that none is left with the part of small shards that is always empty.
    return tuple(units[(rank + turn) % world :: world])


def deal_anew(positions: Sequence[Position], deal: Deal, rank: int, world: int) -> Position:
    """Return what rank ``rank`` of ``world`` has of the work that other ranks left.

    Ranks may stand in different passes. What those behind would have got of later passes is dealt out with
    the rest, so that all go on with the same pass and every sample comes once in each.

    Args:
        positions: of all ranks of the run that stopped, in their order.
        deal: how these ranks would have shared out a pass.
    """
    last = max(position.turn for position in positions)
    left: list[Unit] = []
    for old, position in enumerate(positions):
        left += position.ahead
        for turn in range(position.turn, last):
            left += deal(turn, old, len(positions))
    left.sort(key=lambda unit: unit.turn)
    buffered = [place for position in positions for place in position.buffer]
    # A contiguous part is from few ranks, so that few of their shards are read again for it.
    first, end = (len(buffered) * each // world for each in (rank, rank + 1))
    return Position(
        turn=last,
        units=tuple(left[rank::world]),
        buffer=tuple(buffered[first:end]),
        drawn=max(position.drawn for position in positions),
    )
