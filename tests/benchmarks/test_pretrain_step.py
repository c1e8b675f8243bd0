from __future__ import annotations

import json
import subprocess

import pytest

from benchmarks import pretrain_step
from benchmarks.pretrain_step import Measured, Side, greatest_difference, main, measure_both, summary
from benchmarks.step_sizes import TINY


@pytest.fixture(scope="module")
def sides() -> list[Measured]:
    return measure_both(["--sizes", "tiny"], steps=1)


def test_both_sides_lose_the_same_in_two_steps(sides: list[Measured]) -> None:
    ours, reference = sides
    for one, other in zip(ours.losses, reference.losses, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert ours.losses[0]["itc"] != pytest.approx(ours.losses[1]["itc"], abs=1e-3)
    assert greatest_difference(ours, reference) < 1e-5


def test_ours_counts_fewer_operations(sides: list[Measured]) -> None:
    assert 0 < sides[0].flops < sides[1].flops


def test_summary_names_what_it_measured(sides: list[Measured]) -> None:
    found = summary(*sides, TINY.batch)
    assert (found["name"], found["unit"]) == ("pretrain_step", "images/s")
    assert found["value"] == pytest.approx(TINY.batch / sides[0].seconds[0])
    assert found["ratio"] == pytest.approx(found["value"] / found["baseline"])  # type: ignore[operator]


def run_with(monkeypatch: pytest.MonkeyPatch, sides: list[Measured], *arguments: str) -> int:
    asked: list[tuple[list[str], int]] = []

    def measured(passed_on: list[str], steps: int) -> list[Measured]:
        asked.append((passed_on, steps))
        return sides

    monkeypatch.setattr(pretrain_step, "measure_both", measured)
    passed_on = ["--sizes", "tiny", "--steps", "2", *arguments]
    code = main(passed_on)
    assert asked == [(passed_on, 2)]
    return code


def test_json_is_one_object(
    sides: list[Measured], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_with(monkeypatch, sides, "--json") == 0
    assert {"name", "value", "unit", "baseline", "ratio"} <= set(json.loads(capsys.readouterr().out))


def test_losses_that_differ_are_told(
    sides: list[Measured], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    off = Measured(**{**vars(sides[0]), "losses": [dict.fromkeys(each, 9.0) for each in sides[0].losses]})
    assert run_with(monkeypatch, [off, sides[1]]) == 1
    assert "greatest difference" in capsys.readouterr().out


def test_both_sides_do_the_steps_asked_for() -> None:
    for measured in measure_both(["--sizes", "tiny"], steps=2):
        assert measured.losses[0].keys() == {"itc", "itm", "lm"}
        assert len(measured.seconds) == 2


def test_a_side_that_fails_is_told() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        Side("mmtk", ["--sizes", "no_such_sizes"])
