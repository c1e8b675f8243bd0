from __future__ import annotations

import pytest

from mmtk.engine.figures import Window


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_means_speed_and_waiting() -> None:
    clock = Clock()
    window = Window(clock)
    window.add({"loss": 2.0, "itm/accuracy": 0.5}, samples=64, waited=0.5)
    window.add({"loss": 4.0}, samples=32, waited=0.5)
    clock.now += 4.0
    assert window.close() == pytest.approx(
        {"loss": 3.0, "itm/accuracy": 0.5, "samples_per_second": 24.0, "data_wait": 0.25}
    )


def test_starts_over_after_close() -> None:
    clock = Clock()
    window = Window(clock)
    window.add({"loss": 2.0}, samples=64, waited=1.0)
    clock.now += 2.0
    window.close()
    window.add({"loss": 8.0}, samples=8, waited=0.0)
    clock.now += 1.0
    assert window.close() == {"loss": 8.0, "samples_per_second": 8.0, "data_wait": 0.0}
