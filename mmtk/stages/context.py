"""What a stage is given when it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmtk.registry import Registry


@dataclass(frozen=True)
class Output:
    """A declared output of a stage: its artifact type and where it will lie in the stage's folder.

    A stage's config class lists them, e.g.
    ``OUTPUTS: ClassVar[Mapping[str, Output]] = {"checkpoint": Output("checkpoint", "checkpoint")}``.

    It may also have ``SAME_RESULT: ClassVar[tuple[str, ...]]``: keys (``workers``, or ``data.workers`` of a
    part) that change how the stage works and not what it makes. A folder made with other values of them is
    still good.
    """

    artifact: str
    path: str


@dataclass(frozen=True)
class StageContext:
    """What a stage knows of the run around it.

    Attributes:
        name: the stage's name in the recipe.
        folder: the stage's own folder; everything it writes goes there.
        seed: the run's seed.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        registry: for stages that rebuild a learner from a checkpoint.
        say: prints one line for the user.
        meet: waits, for days if need be, until all ranks have called it. To be called before a collective,
            which gives up after half an hour, where the ranks of a stage may come far apart.
    """

    name: str
    folder: Path
    seed: int
    device: str
    registry: Registry
    say: Callable[[str], None]
    meet: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class EstimateContext:
    """What a stage knows of a run that is only told of.

    Attributes:
        folder: the stage's own folder, which may not be there. It may hold what an earlier try measured.
        seed: the run's seed.
        ranks: how many processes the run would have.
        goes_on: whether what the folder holds is of the same settings, and the stage would go on from it.
        pending: paths of the stage's inputs that are not there yet, each with its ``STAGE.OUTPUT``.
        registry: for stages that look at a checkpoint.
    """

    folder: Path
    seed: int
    ranks: int
    goes_on: bool
    pending: Mapping[Path, str]
    registry: Registry

    def paths_in(self, part: object) -> list[Path]:
        """The files and folders that ``part`` of a config reads, each once."""
        from mmtk.recipe.paths import is_input  # whose package imports this module
        from mmtk.recipe.references import leaves

        return list(dict.fromkeys(filter(is_input, leaves(part))))

    def missing(self, part: object) -> str:
        """Name what isn't there yet of the outputs that ``part`` of a config reads; empty where all is."""
        return ", ".join(sorted({self.pending[path] for path in self.paths_in(part) if path in self.pending}))
