"""Making an index of pictures, and bringing one up to date."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmtk.inference.index_files import (
    About,
    Index,
    IndexedPicture,
    check_place,
    holds_index,
    read_index,
    write_index,
)
from mmtk.inference.results import Embedded, Indexed

if TYPE_CHECKING:
    from mmtk.inference.model import InferenceModel

SECONDS_BETWEEN_SAVES = 300.0
Rows = dict[IndexedPicture, np.ndarray]


def build_index(
    model: InferenceModel,
    images: Iterable[str | Path],
    folder: Path,
    watch: Callable[[Embedded], None] = lambda _done: None,
) -> Indexed:
    """Make ``folder`` an index of exactly these pictures.

    Pictures that an earlier index of the same model holds, and whose files have the same size and time of
    modification, are taken over. What is done is saved every few minutes and when it is interrupted, as an
    index from which the next try goes on. Pictures that can't be read are left out.

    Args:
        images: paths; one that is named twice is held once.
        watch: is told of each picture that was read, and of those that can't be.

    Raises:
        DataError: ``folder`` holds something else.
    """
    check_place(folder)
    about = About(str(model.checkpoint.absolute()), model.fingerprint, model.preparation.image.size)
    known = _known(folder, about)
    paths = dict.fromkeys(str(Path(path).absolute()) for path in images)
    states = {path: _state(path) for path in paths}
    done: Rows = {state: known[state] for state in states.values() if state in known}
    unchanged = len(done)
    failed: list[Embedded] = []

    def save() -> None:
        held = [state for state in states.values() if state in done]
        rows = np.stack([done[state] for state in held]) if held else np.empty((0, 0), np.float32)
        write_index(Index(folder, about, held, rows))

    saved = time.monotonic()
    try:
        for one in model.image_features(path for path, state in states.items() if state not in known):
            state = states[one.name]
            if one.features is None or state is None:
                failed.append(one)
            else:
                done[state] = one.features.numpy()
            watch(one)
            if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                save()
                saved = time.monotonic()
    finally:
        save()
    return Indexed(len(done) - unchanged, unchanged, len(known.keys() - done.keys()), tuple(failed))


def _known(folder: Path, about: About) -> Rows:
    """The rows of an earlier index that the same model made."""
    if not holds_index(folder):
        return {}
    index = read_index(folder)
    same = (index.about.fingerprint, index.about.image_size) == (about.fingerprint, about.image_size)
    return dict(zip(index.pictures, np.asarray(index.rows), strict=True)) if same else {}


def _state(path: str) -> IndexedPicture | None:
    """The picture as an index would hold it; None where there is no such file."""
    try:
        state = Path(path).stat()
    except OSError:
        return None
    return IndexedPicture(path, state.st_size, state.st_mtime_ns)
