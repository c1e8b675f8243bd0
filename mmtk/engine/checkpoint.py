"""A learner on disk: one folder with its weights, how it is built, and every file that building it reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mmtk.engine.checkpoint_files import DESCRIPTION, WEIGHTS
from mmtk.engine.folders import whole_folder
from mmtk.engine.learner import Learner
from mmtk.engine.weights import load_weights, save_tensors
from mmtk.errors import CheckpointError, RecipeError
from mmtk.recipe.build import blueprint, from_plain, to_plain
from mmtk.recipe.paths import is_input
from mmtk.recipe.references import map_leaves
from mmtk.types import ComponentNode

if TYPE_CHECKING:
    from mmtk.registry import Registry

FILES = "files"
_FORMAT = 1
_COPIED = "checkpoint:"  # marks a path inside the checkpoint's folder


@dataclass(frozen=True)
class LearnerNodes:
    """The recipe nodes a learner was built from, its inputs given as paths."""

    model: ComponentNode
    heads: Mapping[str, ComponentNode]


@dataclass(frozen=True)
class TransformNodes:
    """The recipe nodes of what a learner was trained through; later uses prepare their samples likewise."""

    image: ComponentNode
    text: ComponentNode


def save_learner(
    tensors: Mapping[str, Tensor],
    nodes: LearnerNodes,
    folder: Path,
    transforms: TransformNodes | None = None,
) -> None:
    """Write a learner to ``folder``, self-contained; it appears whole or not at all.

    Args:
        tensors: the learner's ``state_dict()``, shards put together; tied tensors are written once.
        nodes: how it was built. Every file or folder they name is copied along.
        folder: replaced if it is there.
        transforms: what prepared its training's samples; None where that isn't known.
    """
    with whole_folder(folder) as partial:
        files = _Files(partial / FILES)
        plain = {
            "format": _FORMAT,
            "model": to_plain(map_leaves(nodes.model, files.take)),
            "heads": {name: to_plain(map_leaves(node, files.take)) for name, node in nodes.heads.items()},
        }
        if transforms is not None:
            plain["image_transform"] = to_plain(map_leaves(transforms.image, files.take))
            plain["text_transform"] = to_plain(map_leaves(transforms.text, files.take))
        (partial / DESCRIPTION).write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", "utf-8")
        save_tensors(tensors, partial / WEIGHTS)


def load_nodes(folder: Path, registry: Registry) -> LearnerNodes:
    """Read how the learner in ``folder`` is built; the paths in the result lie in ``folder``.

    Raises:
        CheckpointError: the folder or a file of it is missing or damaged, or a component is not installed.
    """
    plain = _description(folder)
    try:
        return LearnerNodes(
            model=from_plain("model", _locate(plain["model"], folder), registry),
            heads={
                name: from_plain("head", _locate(head, folder), registry)
                for name, head in plain["heads"].items()
            },
        )
    except RecipeError as error:
        raise CheckpointError(
            f"{folder / DESCRIPTION}: the learner can't be rebuilt here: {error}"
        ) from error


def load_transforms(folder: Path, registry: Registry) -> TransformNodes | None:
    """Read what prepared the samples of the training behind ``folder``; None where that isn't known.

    Raises:
        CheckpointError: as ``load_nodes``.
    """
    plain = _description(folder)
    if "image_transform" not in plain or "text_transform" not in plain:
        return None
    try:
        image, text = (
            from_plain(kind, _locate(plain[kind], folder), registry)
            for kind in ("image_transform", "text_transform")
        )
    except RecipeError as error:
        raise CheckpointError(
            f"{folder / DESCRIPTION}: how its samples are prepared can't be told here: {error}"
        ) from error
    return TransformNodes(image, text)


def _description(folder: Path) -> dict[str, Any]:
    """Read ``learner.json``. Raises CheckpointError where it is missing or damaged."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: there is no such checkpoint folder")
    path = folder / DESCRIPTION
    if not path.is_file():
        raise CheckpointError(f"{folder}: no checkpoint, {DESCRIPTION} is missing")
    try:
        plain = json.loads(path.read_text("utf-8"))
        version = plain["format"]
        plain = {**plain, "model": plain["model"], "heads": dict(plain["heads"])}
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged ({type(error).__name__}: {error})") from error
    if version != _FORMAT:
        raise CheckpointError(
            f"{path}: written in format {version}, and this version of mmtk reads {_FORMAT}"
        )
    return plain


def build_learner(nodes: LearnerNodes, registry: Registry) -> Learner:
    """Build the model and, on it, the heads, with the random weights that their constructors draw."""
    model = blueprint(nodes.model, registry, {}).build()
    heads = {name: blueprint(node, registry, {}).build(model=model) for name, node in nodes.heads.items()}
    return Learner(model, heads)


def load_learner(folder: Path, registry: Registry, device: str = "cpu") -> Learner:
    """Rebuild the learner in ``folder`` on ``device``, in evaluation mode.

    Raises:
        CheckpointError: something is missing, damaged or doesn't fit; names the tensor and both shapes.
    """
    learner = build_learner(load_nodes(folder, registry), registry)
    load_weights(learner, folder / WEIGHTS)
    return learner.to(device).eval()


class _Files:
    """Copies the files that nodes name into one folder, each once, under names that don't collide."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[Path, str] = {}

    def take(self, value: Any) -> Any:
        """Copy the file or folder if ``value`` is read from, and return the marked path of the copy."""
        if not is_input(value):
            return value
        source = value.resolve()
        if source not in self._names:
            self._names[source] = self._copy(source)
        return Path(f"{_COPIED}{FILES}/{self._names[source]}")

    def _copy(self, source: Path) -> str:
        taken = set(self._names.values())
        name, number = source.name, 2
        while name in taken:
            name, number = f"{source.stem}-{number}{source.suffix}", number + 1
        self._folder.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, self._folder / name)
        elif source.is_file():
            shutil.copyfile(source, self._folder / name)
        else:
            raise CheckpointError(f"{source}: the learner was built from this file, and it is gone")
        return name


def _locate(value: Any, folder: Path) -> Any:
    """Turn the marked paths inside plain data into absolute ones."""
    if isinstance(value, str) and value.startswith(_COPIED):
        path = folder.absolute() / value.removeprefix(_COPIED)
        if not path.exists():
            raise CheckpointError(f"{path}: missing from the checkpoint")
        return str(path)
    if isinstance(value, dict):
        return {key: _locate(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [_locate(item, folder) for item in value]
    return value
