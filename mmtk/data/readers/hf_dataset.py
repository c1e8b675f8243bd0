"""Reading a dataset that the library ``datasets`` saved to disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmtk.data.readers.addresses import describe
from mmtk.data.readers.fields import Fields
from mmtk.data.readers.image_files import check_folder
from mmtk.errors import DataError, SampleError
from mmtk.printable import printable
from mmtk.types import Quarantined, RawSample


class HfDatasetReader:
    """The rows of a Hugging Face dataset as samples. Its pictures are not decoded here.

    The column of the pictures is of the feature ``Image``, or of bytes or paths. A sample's key is the split
    and its row, ``train-17``, counted from 0.
    """

    def __init__(
        self,
        path: Path,
        images: Path | None = None,
        image: str = "image",
        text: str | Sequence[str] = "caption",
        image_id: str = "image_id",
        source: str = "",
        split: str | None = None,
    ) -> None:
        """Raises DataError when the library or the folder is missing, or split or columns aren't there."""
        check_folder(images)
        fields = Fields.of(image, text, image_id, source)
        self.quarantined: list[Quarantined] = []
        self._rows = _open(Path(path), split, fields)
        self._fields = fields
        self._images = images or Path(path)
        self._name = printable(str(self._rows.split or split or Path(path).name)).replace(".", "_")
        self._location = printable(str(path if split is None else Path(path) / split))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> RawSample:
        """Read one sample. Raises SampleError when its row or its picture can't be read."""
        index = range(len(self))[index]
        key = f"{self._name}-{index}"
        try:
            return self._fields.sample(self._rows[index], self._images, key, self._location)
        except DataError as error:
            raise SampleError(printable(str(error)), key, self._location) from error
        except Exception as error:  # the library has no error type of its own
            reason = f"unreadable row: {printable(describe(error))[:200]}"
            raise SampleError(reason, key, self._location) from error


def _open(path: Path, split: str | None, fields: Fields) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError("the reader hf_dataset needs the library datasets: pip install 'mmtk[hf]'") from error
    try:
        found = datasets.load_from_disk(str(path))
    except Exception as error:  # the library has no error type of its own
        raise DataError(f"can't read {path} as a saved dataset: {describe(error)}") from error
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            chosen = "a split must be chosen" if split is None else f"no split {split!r}"
            raise DataError(f"{path}: {chosen}; there are: {', '.join(map(str, found))}")
        found = found[split]
    elif split is not None:
        raise DataError(f"{path} is one dataset and has no splits; leave 'split' out")
    found = found.select_columns(fields.check(found.column_names, path)).with_format(None)
    if isinstance(found.features[fields.image], datasets.Image):
        found = found.cast_column(fields.image, datasets.Image(decode=False))
    return found
