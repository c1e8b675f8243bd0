from __future__ import annotations

import json

import pytest

from benchmarks import pretrain_step
from benchmarks.pretrain_step import SIDES, Measured, greatest_difference, main, measure, summary
from benchmarks.step_sizes import TINY


@pytest.fixture(scope="module")
def sides() -> list[Measured]:
    return [measure(side, TINY, steps=1, device="cpu") for side in SIDES]


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
    asked: list[tuple[str, tuple[str, ...]]] = []

    def measured(side: str, passed_on: list[str]) -> Measured:
        asked.append((side, tuple(passed_on)))
        return sides[SIDES.index(side)]

    monkeypatch.setattr(pretrain_step, "measure_apart", measured)
    code = main(["--sizes", "tiny", *arguments])
    assert asked == [(side, ("--sizes", "tiny", *arguments)) for side in SIDES]
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


def test_a_side_runs_in_its_own_process() -> None:
    measured = pretrain_step.measure_apart("mmtk", ["--sizes", "tiny", "--steps", "1"])
    assert measured.losses[0].keys() == {"itc", "itm", "lm"}
    assert len(measured.seconds) == 1
