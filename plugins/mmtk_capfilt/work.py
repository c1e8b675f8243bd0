"""The work on the parts of a pass, in whatever process it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from mmtk.api import Reader, Registry, StageError, SurveyingStep, read_table
from mmtk_capfilt.configs import CapfiltConfig
from mmtk_capfilt.ledger import IMAGE, schema, to_table
from mmtk_capfilt.named_steps import NamedStep, build_steps, datasets_of, weights_of
from mmtk_capfilt.output import shard_path, write_shard
from mmtk_capfilt.part_pass import PartPass
from mmtk_capfilt.parts import WEB_DATASET, FinishedParts, cut, write_table


class PartDone(NamedTuple):
    """What a finished part says of itself: images in, images that failed, samples written."""

    images: int
    failed: int
    written: int


@dataclass(frozen=True)
class CapfiltWork:
    """What a process must know to work on parts. It is sent to others without what it has loaded.

    Attributes:
        config: the stage's.
        stage: its name.
        folder: the stage's.
        seed: the run's.
        device: where models compute.
        registry: for steps that rebuild a learner.
    """

    config: CapfiltConfig
    stage: str
    folder: Path
    seed: int
    device: str
    registry: Registry

    def __reduce__(self) -> tuple[object, ...]:
        return CapfiltWork, (self.config, self.stage, self.folder, self.seed, self.device, self.registry)

    def open(self) -> OpenWork:
        """Build the steps and open the datasets."""
        return self._opened

    def build_steps(self) -> list[NamedStep]:
        """Build the steps, which loads no model of a checkpoint yet. Raises StageError as ``build_steps``."""
        return build_steps(
            self.config.steps,
            device=self.device,
            registry=self.registry,
            data_limits=self.config.data.limits,
        )

    @cached_property
    def _opened(self) -> OpenWork:
        steps = self.build_steps()
        readers = {WEB_DATASET: self.config.data.reader.build()}
        readers |= {name: reader for name, _, reader in datasets_of(steps)}
        return OpenWork(self, steps, readers)


class OpenWork:
    """The work with its steps and datasets; called with its number, it does one part.

    Attributes:
        readers: the datasets by name.
        parts: all parts, in order.
        finished: what there is of them on the disk.
        columns: the ledger's schema.
        weights: how often a kept text is written, by source or dataset.
        output: form of the shards.
        stage: the stage's name, which is the shards' too.
    """

    def __init__(self, work: CapfiltWork, steps: list[NamedStep], readers: Mapping[str, Reader]) -> None:
        self._work = work
        self._steps = steps
        self.readers = readers
        self.weights = weights_of(steps)
        self.output = work.config.output
        self.stage = work.stage
        entries = {WEB_DATASET: 0} | {name: place for name, place, _ in datasets_of(steps)}
        lengths = {name: len(reader) for name, reader in readers.items()}
        self.parts = cut(lengths, entries, work.config.part_size)
        self.finished = FinishedParts(work.folder / "parts")
        self.columns = schema([name for step in steps for name in step.gives], [step.rules for step in steps])

    def survey(self, say: Callable[[str], None]) -> None:
        """Have the steps that must have seen all images look at them, where they haven't before."""
        for named in self._steps:
            path = self._survey_path(named)
            if isinstance(named.step, SurveyingStep) and not path.exists():
                say(f"step {named.name} looks through datasets")
                path.parent.mkdir(parents=True, exist_ok=True)
                write_table(named.step.survey(self.readers), path)

    def __call__(self, number: int) -> PartDone:
        """Do a part: its shard first, then its ledger, which says that the part is finished."""
        part = self.parts[number]
        samples, rows = self._pass(part)
        keys = {row.key for row in rows}
        if len(keys) != len(part.images):
            raise StageError(
                f"part {number}: {len(part.images)} images in, but {len(keys)} keys to account for them; "
                "each image needs a key of its own"
            )
        path = shard_path(self._work.folder / "dataset", self.stage, number, self.output)
        written = write_shard(path, samples, self.output)
        self.finished.write(number, to_table(rows, self.columns), written)
        return PartDone(len(keys), sum(row.source == IMAGE for row in rows), written)

    @cached_property
    def _pass(self) -> PartPass:
        for named in self._steps:
            if isinstance(named.step, SurveyingStep):
                named.step.learn(read_table(self._survey_path(named)))
        return PartPass(self.readers, self._work.config.data, self._steps, self.weights, self._work.seed)

    def _survey_path(self, named: NamedStep) -> Path:
        return self._work.folder / "surveys" / f"{named.name}.parquet"
