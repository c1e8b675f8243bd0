from __future__ import annotations

import threading

import pytest

from mmtk.engine.step_clock import StepClock, section


class Line:
    """A time line that a test moves; marks pass when the device has come as far as ``reached``."""

    def __init__(self) -> None:
        self.time = 0.0
        self.reached = float("inf")

    def now(self) -> float:
        return self.time

    def passed(self, mark: float) -> bool:
        return mark <= self.reached

    def seconds(self, start: float, end: float) -> float:
        return end - start

    def wait(self) -> None:
        self.reached = float("inf")


def test_sections_and_rest_add_up_to_the_whole() -> None:
    line = Line()
    with StepClock(line) as clock:
        line.time += 1
        with section("data wait"):
            line.time += 2
        with section("forward/itm"):
            line.time += 4
            with section("forward/shared image encoder"):
                line.time += 8
            line.time += 16
        line.time += 32
        clock.step()
    line.time += 1000  # the clock has stopped
    expected = {"rest": 33, "data wait": 2, "forward/itm": 20, "forward/shared image encoder": 8}
    assert clock.finish() == {"steps": 1, "seconds": expected}


def test_a_section_ends_with_an_error() -> None:
    line = Line()
    with StepClock(line) as clock:
        with pytest.raises(ValueError, match="a bad step"), section("backward"):
            line.time += 3
            raise ValueError("a bad step")
        line.time += 1
    assert clock.finish()["seconds"] == {"rest": 1, "backward": 3}


def test_marks_that_have_not_passed_are_left_for_later() -> None:
    line = Line()
    with StepClock(line) as clock:
        line.reached = 4
        for _ in range(2):
            with section("forward/lm"):
                line.time += 3
            clock.step()
        assert clock.state() == {"steps": 2, "seconds": {"rest": 0, "forward/lm": 3}}
    assert clock.finish() == {"steps": 2, "seconds": {"rest": 0, "forward/lm": 6}}


def test_goes_on_from_a_state() -> None:
    line = Line()
    clock = StepClock(line)
    clock.load({"steps": 7, "seconds": {"data wait": 1.5, "rest": 0.5}})
    with clock:
        with section("data wait"):
            line.time += 1
        clock.step()
    assert clock.finish() == {"steps": 8, "seconds": {"data wait": 2.5, "rest": 0.5}}
    clock.load({})
    assert clock.state() == {"steps": 0, "seconds": {}}


def test_without_a_clock_and_in_other_threads_nothing_is_marked() -> None:
    with section("anything"):
        pass

    def elsewhere() -> None:
        with section("elsewhere"):
            pass

    with StepClock(Line()) as clock:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    with section("anything"):
        pass
    assert set(clock.finish()["seconds"]) == {"rest"}
