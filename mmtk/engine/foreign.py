"""Learners from other programs and for them: what ``mmtk import`` and ``mmtk export`` do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from mmtk.engine.checkpoint import (
    LearnerNodes,
    build_learner,
    load_learner,
    load_nodes,
    save_learner,
)
from mmtk.engine.initialise import Takeover, take_over
from mmtk.engine.runs import CHECKPOINT, checkpoints_in
from mmtk.errors import CheckpointError, PluginError, RecipeError
from mmtk.kinds import Exporter, Importer
from mmtk.recipe.build import blueprint, from_options, from_plain, to_plain
from mmtk.report.metric_table import read_metrics
from mmtk.stages.record import StageRecord, Status, read_record
from mmtk.types import ExportSource

if TYPE_CHECKING:
    from mmtk.registry import Registry

RESOLVED = "recipe.resolved.yaml"
EVALUATION = "evaluation"  # artifact type of the figures that a model card shows


@dataclass(frozen=True)
class Imported:
    """What an import did: which importer, what it took over and what it has to say."""

    importer: str
    takeover: Takeover
    notes: tuple[str, ...]


def import_learner(
    source: Path, target: Path, registry: Registry, name: str | None = None, options: Mapping[str, Any] = {}
) -> Imported:
    """Read ``source`` with the importer ``name``, or the one that accepts it, and write a checkpoint.

    Args:
        source: the other program's file or folder.
        target: the checkpoint's folder, which must not be there yet.
        registry: where importers are found.
        name: of the importer; None asks all.
        options: the importer's keys.

    Raises:
        CheckpointError: ``source`` can't be read, nobody accepts it, or ``target`` is there.
        RecipeError: there is no such importer, or it has no such key.
    """
    _refuse_existing(target)
    if not source.exists():
        raise CheckpointError(f"{source}: there is no such file or folder")
    name = name or _accepting(source, registry)
    importer: Importer = blueprint(from_options("importer", name, options, registry), registry, {}).build()
    found = importer(source)
    nodes = LearnerNodes(
        from_plain("model", dict(found.model), registry),
        {head: from_plain("head", dict(node), registry) for head, node in found.heads.items()},
    )
    torch.manual_seed(0)
    learner = build_learner(nodes, registry)
    takeover = take_over(learner, found.weights, str(source))
    if takeover.misshapen:
        raise CheckpointError(
            f"{source}: doesn't fit the sizes read from it: {'; '.join(takeover.misshapen)}"
        )
    save_learner(learner.state_dict(), nodes, target)
    return Imported(name, takeover, found.notes)


def _accepting(source: Path, registry: Registry) -> str:
    names = []
    for registration in registry.of_kind("importer"):
        name = registration.qualified_name
        importer: Importer = blueprint(from_options("importer", name, {}, registry), registry, {}).build()
        if importer.accepts(source):
            return name
        names.append(registration.component.name)
    raise CheckpointError(
        f"{source}: no importer knows this; there are: {', '.join(names) or 'none'} "
        "(--format NAME forces one)"
    )


def export_learner(
    source: Path,
    target: Path,
    registry: Registry,
    name: str,
    options: Mapping[str, Any] = {},
    stage: str | None = None,
) -> tuple[str, ...]:
    """Write the learner of a run or of a checkpoint with the exporter ``name``; return what it has to say.

    Args:
        source: a run's folder or a checkpoint's.
        target: must not be there yet.
        registry: where exporters are found.
        name: of the exporter.
        options: its keys.
        stage: whose checkpoint; None takes the last one of the run that was finished.

    Raises:
        CheckpointError: there is no checkpoint, or the exporter can't write it.
        RecipeError: there is no such exporter, or it has no such key.
    """
    exporter: Exporter = blueprint(from_options("exporter", name, options, registry), registry, {}).build()
    _refuse_existing(target)
    chosen, checkpoint = list(checkpoints_in(source, stage).items())[-1]
    if not chosen:
        return exporter(_source(checkpoint, registry, source.resolve().name), target)
    said = (f"the checkpoint of stage '{chosen}'",) if stage is None else ()
    metrics = _metrics(source, chosen, registry)
    resolved = source / RESOLVED
    recipe = resolved.read_text("utf-8") if resolved.is_file() else ""
    found = _source(checkpoint, registry, source.resolve().name, recipe, metrics)
    return (*said, *exporter(found, target))


def _source(
    checkpoint: Path,
    registry: Registry,
    name: str,
    recipe: str = "",
    metrics: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
) -> ExportSource:
    nodes = load_nodes(checkpoint, registry)
    return ExportSource(
        learner=load_learner(checkpoint, registry),
        model=to_plain(nodes.model),
        heads={head: to_plain(node) for head, node in nodes.heads.items()},
        name=name,
        recipe=recipe,
        metrics=metrics,
    )


def _metrics(run: Path, stage: str, registry: Registry) -> dict[str, dict[str, float]]:
    """The figures of every finished stage that evaluated the checkpoint of ``stage``."""
    found: dict[str, dict[str, float]] = {}
    for folder in sorted(run.iterdir()):
        record = read_record(folder)
        if (
            record is None
            or record.status is not Status.DONE
            or not _reads(record.node, f"{stage}.{CHECKPOINT}")
        ):
            continue
        for path in _evaluations(record, registry):
            figures = read_metrics(folder / path)
            found[folder.name] = {name: float(value) for name, value in figures.items() if value is not None}
    return found


def _evaluations(record: StageRecord, registry: Registry) -> list[str]:
    try:
        config = registry.get("stage", record.node["use"]).config()
    except (RecipeError, PluginError):  # a plugin that is gone; its figures are left out
        return []
    outputs = getattr(config, "OUTPUTS", {}).values()
    return [output.path for output in outputs if output.artifact == EVALUATION]


def _reads(value: Any, output: str) -> bool:
    if isinstance(value, Mapping):
        return value.get("from") == output or any(_reads(item, output) for item in value.values())
    return isinstance(value, list) and any(_reads(item, output) for item in value)


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise CheckpointError(f"{target}: is there already; name a new folder or remove it")
