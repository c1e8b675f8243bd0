"""The kinds that runs, reports and files of other programs are made by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mmtk.types import ExportSource, ForeignWeights, ImportedLearner

if TYPE_CHECKING:
    from pathlib import Path

    from mmtk.engine.learner import Learner
    from mmtk.stages.context import StageContext


class ReportSection(Protocol):
    """A part of the HTML report."""

    title: str

    def html(self) -> str:
        """Return safe HTML: every text from data is escaped. Pictures and charts are inline."""


class WeightSource(Protocol):
    """First weights for a learner, made elsewhere."""

    def __call__(self, learner: Learner) -> ForeignWeights:
        """Return what there is for ``learner``; its modules adapt sizes themselves (``adapt_weights``).

        Raises CheckpointError when they can't be read. The host copies what fits and says what doesn't.
        """


class Importer(Protocol):
    """Turns a file or folder of another program into a learner. All its keys have defaults."""

    def accepts(self, source: Path) -> bool:
        """Whether ``source`` looks like this importer's format; a cheap look that never raises."""

    def __call__(self, source: Path) -> ImportedLearner:
        """Raises CheckpointError, also when a key is missing that this source needs."""


class Exporter(Protocol):
    """Writes a learner for another program."""

    def __call__(self, source: ExportSource, target: Path) -> tuple[str, ...]:
        """Write ``target``, which isn't there yet, and return sentences for the user.

        Raises CheckpointError when the other program can't represent the learner.
        """


class Stage(Protocol):
    """A step of a run.

    In a run of several ranks only the first one runs it, unless the stage has an attribute ``every_rank``
    that is true; all ranks then run it at once, in one process group, and only the first may write outputs.

    It may have two methods for ``mmtk run --dry-run``: ``estimate(context: EstimateContext)`` gives lines
    that tell what the stage would take, and ``stand_in(folder)`` writes outputs there that are as large as
    the real ones may become, so that stages behind it can be estimated. Neither takes long.

    It may have a method ``check_ready(context: StageContext)``, which raises what ``run`` would fail on at
    its start and writes nothing into the folder. It is called before an earlier result is moved aside.
    """

    def run(self, context: StageContext) -> None:
        """Do the work inside ``context.folder`` and write every declared output there.

        May find what an interrupted earlier try left there and go on from it.
        """
