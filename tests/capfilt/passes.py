"""Passes over small datasets with steps that need no model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from mmtk_capfilt.configs import CapfiltConfig
from mmtk_capfilt.executors.local import Local
from mmtk_capfilt.ledger import read_ledger
from mmtk_capfilt.stage import CapfiltStage

from mmtk.api import Candidate, ComponentNode, ImageCandidates, RawSample, Rule, stable_hash
from mmtk.data.readers.webdataset import WebDatasetReader
from tests.small_learner import Built, data_config, stage_context


@dataclass
class Named(Built):
    """A blueprint of a step that is built already, by the name that a recipe would use."""

    use: str = "fake"

    @property
    def node(self) -> ComponentNode:
        return ComponentNode("capfilt_step", self.use, {})

    @property
    def described(self) -> str:
        return f"capfilt_step '{self.use}' (from fakes/fakes 1.0)"


@dataclass
class Hashed:
    """Scores every open text by a hash of what models read: in [0, 1), whatever the batch."""

    score: str = "luck"
    rules: tuple[Rule, ...] = ()
    fingerprint: str = ""

    @property
    def gives(self) -> tuple[str, ...]:
        return (self.score,)

    def __call__(self, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        return [image.scored(**{self.score: [self.luck(one) for one in image.open]}) for image in images]

    def luck(self, one: Candidate) -> float:
        return stable_hash(self.score, one.cleaned) / 2**63


@dataclass
class Writes:
    """Adds ``count`` texts to each image, drawn from few words by the image's seed: some come twice."""

    count: int = 1
    fingerprint: str = "f00d"

    def __call__(self, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        return [image.adding(self._texts(image), written_by=self.fingerprint) for image in images]

    def _texts(self, image: ImageCandidates) -> list[str]:
        return [f"drawn {stable_hash(image.seed, number) % 5}" for number in range(self.count)]


@dataclass
class Refuses:
    """Bars the texts and leaves out the images whose hash says so."""

    texts: float = 0.0
    images: float = 0.0

    def __call__(self, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        return [
            image.leaving_out("unlucky image") if self._unlucky(image.key, self.images) else self._bar(image)
            for image in images
        ]

    def _bar(self, image: ImageCandidates) -> ImageCandidates:
        return image.barring(lambda one: "unlucky text" if self._unlucky(one.cleaned, self.texts) else None)

    def _unlucky(self, text: str, share: float) -> bool:
        return stable_hash("refuses", text) < share * 2**63


@dataclass
class Adds:
    """Adds datasets and weights."""

    datasets: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, images: Sequence[ImageCandidates]) -> Sequence[ImageCandidates]:
        return images


class Cleaned(NamedTuple):
    """What a pass has left."""

    folder: Path
    lines: list[str]

    @property
    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = read_ledger(self.folder / "ledger.parquet").to_pylist()
        return rows

    @property
    def funnel(self) -> dict[str, int]:
        counts: dict[str, int] = json.loads((self.folder / "funnel.json").read_text("utf-8"))
        return counts

    @property
    def quarantine(self) -> list[dict[str, str]]:
        return [
            json.loads(line)
            for line in (self.folder / "quarantine.jsonl").read_text("utf-8").split("\n")[:-1]
        ]

    @property
    def written(self) -> list[RawSample]:
        """The samples of the shards, as mmtk reads them back, which must take them all."""
        if not any((self.folder / "dataset").iterdir()):
            return []
        reader = WebDatasetReader(self.folder / "dataset", index=self.folder.parent / "indexes")
        assert reader.quarantined == []
        return [reader[index] for index in range(len(reader))]

    @property
    def files(self) -> dict[str, bytes]:
        """What must be the same after every run of one recipe."""
        return result_files(self.folder)


def result_files(folder: Path) -> dict[str, bytes]:
    """The outputs of a stage's folder, byte for byte, and nothing unfinished beside them."""
    assert list(folder.rglob(".*")) == []
    single = [folder / name for name in ("ledger.parquet", "funnel.json", "quarantine.jsonl")]
    shards = sorted((folder / "dataset").glob("*-[0-9]*.*"))
    found = {str(path.relative_to(folder)): path.read_bytes() for path in [*single, *shards]}
    return {name: data for name, data in found.items() if not name.endswith(".mmtk-index")}


def config(reader: Any, *steps: Any, workers: int = 1, **changes: Any) -> CapfiltConfig:
    """A pass over a reader; ``data`` among the changes are those of the data's config."""
    data = replace(data_config(reader), **changes.pop("data", {}))
    own: dict[str, Any] = {
        "data": data,
        "steps": tuple(
            one if isinstance(one, Named) else Named(one, type(one).__name__.lower()) for one in steps
        ),
        "executor": Built(Local(workers=workers, threads=1)),
        "part_size": 4,
    }
    return CapfiltConfig(**(own | changes))


def clean(folder: Path, wanted: CapfiltConfig, seed: int = 3) -> Cleaned:
    """Run the stage in ``folder``."""
    done = Cleaned(folder, [])
    stage = CapfiltStage(**{one.name: getattr(wanted, one.name) for one in fields(CapfiltConfig)})
    stage.run(stage_context(folder, seed=seed, lines=done.lines))
    return done


def rows_of_parquet(folder: Path) -> list[dict[str, Any]]:
    """The samples of Parquet shards, in order."""
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
