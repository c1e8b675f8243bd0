from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from mmtk.data.parallel import ordered_map
from mmtk.errors import DataError


def slowly(number: int) -> int:
    time.sleep(0.002 * (number % 3))
    return number * number


def failing_at(bad: int) -> Callable[[int], int]:
    def function(number: int) -> int:
        if number == bad:
            raise DataError("as it was raised")
        return number

    return function


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_ordered_map(workers: int) -> None:
    assert list(ordered_map(slowly, range(20), workers)) == [n * n for n in range(20)]
    assert list(ordered_map(slowly, range(0), workers)) == []
    results = ordered_map(failing_at(3), range(20), workers)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError) as caught:
        next(results)
    assert str(caught.value) == "as it was raised"
