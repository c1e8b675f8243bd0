"""Folds of a dataset: they share nothing, lose nothing, and keep the samples as they are."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtk.data.pipeline import Built
from mmtk.data.readers.configs import FoldConfig
from mmtk.data.readers.fold import FoldReader, fold_reader
from mmtk.types import Quarantined, RawSample


class Numbered:
    """A reader whose keys are its indices."""

    def __init__(self, size: int, refused: int = 0) -> None:
        self._size = size
        self.quarantined: Sequence[Quarantined] = [Quarantined(f"bad-{i}", "broken") for i in range(refused)]

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> RawSample:
        assert 0 <= index < self._size
        return RawSample(str(index), b"", ("a",), str(index))


def keys(reader: FoldReader) -> list[str]:
    return [reader[i].key for i in range(len(reader))]


def refused(reader: FoldReader) -> list[str]:
    return [entry.key for entry in reader.quarantined]


@given(size=st.integers(0, 40), bad=st.integers(0, 10), folds=st.integers(2, 5))
def test_the_folds_are_a_partition(size: int, bad: int, folds: int) -> None:
    whole = Numbered(size, bad)
    parts = [FoldReader(whole, fold=fold, folds=folds) for fold in range(folds)]
    assert sorted((key for part in parts for key in keys(part)), key=int) == [str(i) for i in range(size)]
    assert sorted(key for part in parts for key in refused(part)) == sorted(e.key for e in whole.quarantined)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(size=st.integers(0, 40), bad=st.integers(0, 10), folds=st.integers(2, 5), data=st.data())
def test_the_rest_is_what_the_fold_lacks(size: int, bad: int, folds: int, data: st.DataObject) -> None:
    fold = data.draw(st.integers(0, folds - 1))
    whole = Numbered(size, bad)
    part, rest = (FoldReader(whole, fold=fold, folds=folds, rest=side) for side in (False, True))
    assert not set(keys(part)) & set(keys(rest))
    assert set(keys(part)) | set(keys(rest)) == {str(i) for i in range(size)}
    assert len(refused(part)) + len(refused(rest)) == bad
    assert not set(refused(part)) & set(refused(rest))


def test_samples_keep_their_order() -> None:
    reader = fold_reader(reader=Built(Numbered(7)), fold=1, folds=3, rest=False)
    assert keys(reader) == ["1", "4"]


@pytest.mark.parametrize(("fold", "folds", "complaints"), [(1, 2, 0), (2, 2, 1), (5, 3, 1)])
def test_a_fold_that_is_none_is_refused(fold: int, folds: int, complaints: int) -> None:
    config = FoldConfig(reader=Built(Numbered(1)), fold=fold, folds=folds)
    problems = list(config.check())
    assert len(problems) == complaints
    assert all(name == "fold" and str(folds) in message for name, message in problems)
