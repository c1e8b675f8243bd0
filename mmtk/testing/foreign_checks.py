"""What sources of first weights, importers and exporters promise."""

from __future__ import annotations

import copy
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmtk.engine.checkpoint import LearnerNodes, build_learner
from mmtk.engine.initialise import take_over
from mmtk.engine.learner import Learner
from mmtk.errors import CheckpointError
from mmtk.kinds import Exporter, Importer, WeightSource
from mmtk.recipe.build import from_plain, to_plain
from mmtk.testing.promise import own_random_state, promise
from mmtk.testing.tiny import tiny_learner, tiny_model_keys, tiny_registry
from mmtk.types import ExportSource, ForeignWeights, ImportedLearner

_ENDINGS = (".bin", ".pt", ".pth", ".safetensors")


def check_weights(source: WeightSource, learner: Learner) -> None:
    """The same tensors each time, of which some fit, for a learner that is left as it was.

    Args:
        source: built.
        learner: one that the weights are for.
    """
    before = copy.deepcopy(learner.state_dict())
    first, second = source(learner), source(learner)
    promise(isinstance(first, ForeignWeights), source, f"returns {type(first).__name__}, no ForeignWeights")
    promise(_same(before, learner.state_dict()), source, "changes the learner, which is the host's business")
    _promise_tensors(source, first.tensors)
    promise(_same(first.tensors, second.tensors), source, "returns other tensors the second time")
    try:
        take_over(copy.deepcopy(learner), first, "its weights")
    except CheckpointError as error:
        promise(False, source, f"gives nothing that fits: {error}")


def check_importer(importer: Importer, source: Path, folder: Path) -> None:
    """Knows its own format, reads it to the same learner each time, and refuses what is damaged.

    Args:
        importer: built.
        source: a file or folder of its format, with a learner small enough for a test.
        folder: empty; copies of ``source`` are damaged there.
    """
    before = _contents(source)
    promise(importer.accepts(source) is True, importer, f"doesn't accept {source.name}")
    for what, other in _strangers(folder).items():
        try:
            accepted = importer.accepts(other)
        except Exception as error:  # whatever it raises, it breaks the promise
            promise(False, importer, f"accepts() raises {type(error).__name__} at {what}: {error}")
        # By its ending alone an empty file may be one of its own; reading it then says more.
        may = (False, True) if other.suffix in _ENDINGS else (False,)
        promise(accepted in may, importer, f"accepts {what} as its format")
    first, second = importer(source), importer(source)
    promise(_contents(source) == before, importer, f"changes {source.name}")
    promise(
        isinstance(first, ImportedLearner), importer, f"returns {type(first).__name__}, no ImportedLearner"
    )
    nodes = (first.model, first.heads) == (second.model, second.heads)
    same = nodes and _same(first.weights.tensors, second.weights.tensors)
    promise(same, importer, "returns another learner the second time")
    _promise_sentences(importer, first.notes, "its notes are")
    _promise_tensors(importer, first.weights.tensors)
    takeover = take_over(_built(first), first.weights, source.name)
    wrong = "; ".join(takeover.misshapen[:3])
    promise(not takeover.misshapen, importer, f"its weights don't fit the model it names: {wrong}")
    damaged = _damaged(source, folder)
    try:
        importer(damaged)
    except CheckpointError:
        return
    except Exception as error:  # would be a traceback for the user
        promise(
            False, importer, f"raises {type(error).__name__}, no CheckpointError, where a file is cut off"
        )
    promise(False, importer, "reads a file that is cut off and says nothing")


def check_exporter(
    exporter: Exporter,
    folder: Path,
    source: ExportSource | None = None,
    *,
    importer: Importer | None = None,
    target: str = "exported",
) -> None:
    """Writes its target and nothing else, and leaves the learner as it was.

    Args:
        exporter: built.
        folder: empty.
        source: a learner that the other program can represent; None takes ``tiny_export_source(folder)``.
        importer: of the same format, if there is one: every tensor that it reads back must be one of the
            learner's, under whatever name.
        target: a name such as the format's files have.
    """
    (folder / "files").mkdir()
    source = source or tiny_export_source(folder / "files")
    learner = source.learner
    before, around = copy.deepcopy(learner.state_dict()), set(folder.iterdir())
    written = folder / target
    notes = exporter(source, written)
    promise(written.exists(), exporter, "writes no target")
    beside = sorted(path.name for path in set(folder.iterdir()) - around - {written})
    promise(not beside, exporter, f"writes beside its target: {', '.join(beside)}")
    _promise_sentences(exporter, notes, "returns")
    promise(_same(before, learner.state_dict()), exporter, "changes the learner's weights")
    promise(not learner.training, exporter, "leaves the learner in training mode")
    if importer is None:
        return
    promise(importer.accepts(written), exporter, f"writes what {type(importer).__name__} doesn't accept")
    held = {_print_of(tensor) for tensor in before.values()}
    back = importer(written).weights.tensors
    changed = [name for name, tensor in back.items() if _print_of(tensor) not in held]
    promise(not changed, exporter, f"what is read back of it was no such tensor: {', '.join(changed[:3])}")


def tiny_export_source(folder: Path, heads: Mapping[str, Mapping[str, Any]] | None = None) -> ExportSource:
    """What an exporter is given: ``tiny_learner(folder, heads)`` with its recipe nodes."""
    registry = tiny_registry()
    given = heads or {name: {"use": name} for name in ("itc", "itm", "lm")}
    nodes = {name: to_plain(from_plain("head", dict(node), registry)) for name, node in given.items()}
    model = to_plain(from_plain("model", tiny_model_keys(folder), registry))
    return ExportSource(tiny_learner(folder, heads), model, nodes, "tiny")


def _built(imported: ImportedLearner) -> Learner:
    registry = tiny_registry()
    heads = {name: from_plain("head", dict(node), registry) for name, node in imported.heads.items()}
    with own_random_state(0):
        return build_learner(
            LearnerNodes(from_plain("model", dict(imported.model), registry), heads), registry
        )


def _promise_tensors(component: Any, tensors: Mapping[str, Any]) -> None:
    for name, tensor in tensors.items():
        right = isinstance(tensor, torch.Tensor) and not tensor.requires_grad
        promise(right, component, f"'{name}' is no tensor without a gradient")


def _promise_sentences(component: Any, given: Any, what: str) -> None:
    right = isinstance(given, tuple) and all(isinstance(one, str) for one in given)
    promise(right, component, f"{what} {given!r}: no tuple of sentences")


def _same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _print_of(tensor: torch.Tensor) -> tuple[torch.Size, str]:
    content = tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return tensor.shape, hashlib.sha256(content).hexdigest()


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())


def _contents(path: Path) -> dict[str, str]:
    return {str(one): hashlib.sha256(one.read_bytes()).hexdigest() for one in _files(path)}


def _strangers(folder: Path) -> dict[str, Path]:
    """What is no learner of any program, by what to call it."""
    for name in ("empty", *(f"empty{ending}" for ending in _ENDINGS)):
        (folder / name).touch()
    (folder / "notes.txt").write_text("no learner\n", encoding="utf-8")
    (folder / "folder").mkdir()
    return {
        "a path that isn't there": folder / "missing",
        "an empty file": folder / "empty",
        "a text file": folder / "notes.txt",
        "an empty folder": folder / "folder",
        **{f"an empty {ending}": folder / f"empty{ending}" for ending in _ENDINGS},
    }


def _damaged(source: Path, folder: Path) -> Path:
    """A copy of ``source`` whose largest file ends in its middle."""
    target = folder / "damaged" / source.name
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        target.parent.mkdir()
        shutil.copyfile(source, target)
    largest = max(_files(target), key=lambda path: path.stat().st_size)
    content = largest.read_bytes()
    largest.write_bytes(content[: len(content) // 2])
    return target
