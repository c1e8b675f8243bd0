from __future__ import annotations

import pytest
import torch

from mmtk.errors import MmtkError
from mmtk.inference.batching import FIRST, LARGEST, BatchSize, in_batches


class Memory:
    """Squares numbers, as many at once as fit; ``tried`` lists the sizes it was given."""

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.tried: list[int] = []

    def __call__(self, batch: list[int]) -> list[int]:
        self.tried.append(len(batch))
        if len(batch) > self.fits:
            raise torch.OutOfMemoryError("too much")
        return [one * one for one in batch]


def run(memory: Memory, size: BatchSize, count: int) -> list[int]:
    return list(in_batches(iter(range(count)), memory, size))


def test_batches_grow_until_memory_runs_out_and_nothing_is_lost() -> None:
    memory = Memory(50)
    assert run(memory, BatchSize(None, "cuda"), 300) == [one * one for one in range(300)]
    assert memory.tried == [16, 32, 64, *[32] * 7, 28]


def test_batches_grow_up_to_a_limit() -> None:
    memory = Memory(10**6)
    run(memory, BatchSize(None, "cuda:1"), 5000)
    assert memory.tried[0] == FIRST
    assert max(memory.tried) == LARGEST


@pytest.mark.parametrize(("asked", "device", "size"), [(None, "cpu", FIRST), (7, "cpu", 7), (7, "cuda", 7)])
def test_other_batches_keep_their_size(asked: int | None, device: str, size: int) -> None:
    memory = Memory(10**6)
    assert len(run(memory, BatchSize(asked, device), 40)) == 40
    assert set(memory.tried[:-1]) == {size}


def test_a_short_batch_that_fails_is_halved_itself() -> None:
    memory = Memory(2)
    assert run(memory, BatchSize(100, "cpu"), 5) == [0, 1, 4, 9, 16]
    assert memory.tried == [5, 2, 2, 1]


def test_one_item_that_does_not_fit_is_an_error() -> None:
    memory = Memory(0)
    with pytest.raises(MmtkError, match="too small even for a batch of one; try --device cpu"):
        run(memory, BatchSize(4, "cuda"), 9)
    assert memory.tried == [4, 2, 1]
