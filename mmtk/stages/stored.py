"""A finished stage read back from its folder, for what works on its results afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from mmtk.errors import PluginError, RecipeError, StageError
from mmtk.recipe.build import ComponentBlueprint, blueprint, from_plain
from mmtk.recipe.references import Reference, leaves
from mmtk.registry import Registry
from mmtk.stages.record import RECORD_FILE, StageRecord, Status, read_record


class StoredStage(NamedTuple):
    """A finished stage: the component it is, with its plugin or without; what builds it; the run's seed."""

    use: str
    blueprint: ComponentBlueprint
    seed: int


def stored_stage(folder: Path, registry: Registry) -> StoredStage:
    """Read back what wrote ``folder``; paths of its recipe count from the working directory.

    Raises:
        StageError: the folder holds no finished stage, or a stage that it read has run again since.
        RecipeError: its components are not installed, or take other keys now.
    """
    record = _finished(folder)
    registry = registry.preferring(record.plugins)
    node = from_plain("stage", record.node, registry)
    inputs = {
        str(one): _output(folder, record, one, registry) for one in leaves(node) if isinstance(one, Reference)
    }
    return StoredStage(node.use, blueprint(node, registry, inputs), record.seed)


def outputs_of(run: Path, artifact: str, registry: Registry) -> list[Path]:
    """Where the finished stages of a run have written artifacts of a type, in the order of the stages' names.

    Stages whose components are not installed here are left out.
    """
    found = []
    for folder in sorted(path for path in run.iterdir() if path.is_dir()):
        record = read_record(folder)
        if record is None or record.status is not Status.DONE:
            continue
        try:
            config: Any = registry.preferring(record.plugins).get("stage", record.node["use"]).config()
        except (RecipeError, PluginError):
            continue
        outputs = getattr(config, "OUTPUTS", {}).values()
        found += [folder / output.path for output in outputs if output.artifact == artifact]
    return found


def _finished(folder: Path) -> StageRecord:
    record = read_record(folder)
    if record is None:
        raise StageError(f"{folder} is no stage's folder of a run: it has no {RECORD_FILE} that can be read")
    if record.status is not Status.DONE:
        raise StageError(f"{folder}: the stage is not done ({record.status}); mmtk run goes on with it")
    return record


def _output(folder: Path, record: StageRecord, wanted: Reference, registry: Registry) -> Path:
    """Where the output of another stage of the run lies."""
    other = folder.parent / wanted.stage
    source = _finished(other)
    if source.fingerprint != record.inputs.get(wanted.stage):
        raise StageError(f"{folder}: the stage '{wanted.stage}', which it read, has run again since")
    config = registry.preferring(source.plugins).get("stage", source.node["use"]).config()
    path: str = config.OUTPUTS[wanted.output].path  # type: ignore[union-attr]
    return other / path
