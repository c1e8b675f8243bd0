from __future__ import annotations

import dataclasses
import threading
from typing import Any

import pytest

from mmtk.data.configs import SourceConfig
from mmtk.data.pipeline import TrainingData
from mmtk.engine.batches import step_batches
from mmtk.engine.position import Course
from mmtk.errors import DataError, SampleError
from tests.host.engine.tiny import ColourReader, part, train_fields


def course(data: TrainingData, accumulate: int, epochs: int = 3) -> Course:
    return Course(
        epochs=epochs,
        step_size=data.global_batch * accumulate,
        batches_left=data.batches_left,
        accumulate=accumulate,
    )


def training_data(workers: int, reader: Any = None) -> TrainingData:
    config = dataclasses.replace(train_fields()["data"], workers=workers)
    if reader is not None:
        config = dataclasses.replace(config, sources={"web": SourceConfig(reader=reader)})
    return TrainingData(config, seed=1)


def keys(data: TrainingData, accumulate: int, start: int = 0) -> list[tuple[int, list[tuple[str, ...]]]]:
    steps = step_batches(data, course(data, accumulate), start)
    return [(step, [batch.keys for batch in batches]) for step, batches, _ in steps]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("start", [0, 1, 3])
def test_reading_epochs_ahead_changes_no_batch(accumulate: int, start: int) -> None:
    expected = keys(training_data(0), accumulate, start)
    assert keys(training_data(2), accumulate, start) == expected
    assert [step for step, _ in expected] == list(
        range(start, course(training_data(0), accumulate).total_steps)
    )


def test_stopping_ends_the_threads_that_read_ahead() -> None:
    before = threading.active_count()
    data = training_data(2)
    steps = step_batches(data, course(data, 1), 0)
    for step, _, _ in steps:
        if step == 3:  # the last one of its epoch: the next one is on its way
            break
    steps.close()  # type: ignore[attr-defined]
    assert threading.active_count() <= before + 1


class Failing(ColourReader):
    """Nothing can be read of it."""

    def __getitem__(self, index: int) -> Any:
        raise SampleError("no picture", f"sample{index}", "here")


def test_what_goes_wrong_ahead_is_raised() -> None:
    data = training_data(2, part("reader", "failing", Failing))
    with pytest.raises(DataError, match="none of its 24 samples can be used"):
        keys(data, 1)
