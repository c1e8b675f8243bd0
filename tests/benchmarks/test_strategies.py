"""The strategies' benchmark in a small form: what it compares and counts, not how fast it is."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from benchmarks import strategies
from benchmarks.strategies import MIB, Outcome, all_strategies, formula, greatest_difference, main, run
from benchmarks.strategy_rank import Counts
from mmtk.plugins import load_plugins

RUN = ("single", "ddp", "fsdp2", "fairscale_sdp")


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """Real processes, two of them but for ``single``."""
    return {name: run(name, 1 if name == "single" else 2, "tiny", 3) for name in RUN}


def test_every_strategy_has_a_formula() -> None:
    installed = load_plugins().registry.of_kind("strategy")
    assert sorted(all_strategies()) == sorted(one.component.name for one in installed)


def test_ranks_lose_what_one_process_loses(outcomes: dict[str, Outcome]) -> None:
    (alone,) = outcomes["single"].ranks
    assert len(alone.figures) == 3
    assert {"loss/itc", "loss/itm", "loss/lm", "gradient_norm"} <= set(alone.figures[0])
    for name in ("ddp", "fsdp2"):
        for one in outcomes[name].ranks:
            assert greatest_difference(one, alone, norms=False) < 1e-5
            assert greatest_difference(one, alone, norms=True) < 1e-5


def test_what_is_held_is_what_the_formula_says(outcomes: dict[str, Outcome]) -> None:
    for name in ("single", "ddp", "fsdp2"):
        ranks = outcomes[name].ranks
        expected = formula(name, ranks[0].counts, len(ranks))
        # Shards of so small a model are uneven: their sum is what must hold.
        for part, size in expected.items():
            held = sum(one.held[part] for one in ranks) / len(ranks)
            assert held == pytest.approx(size, rel=0.02), (name, part)


def test_formula() -> None:
    counts = Counts(parameters=100, average=60, queue=10, embed_dim=4)
    whole = {"parameters": 400, "gradients": 400, "optimizer": 800, "average": 240, "queue": 480}
    assert formula("ddp", counts, 4) == whole
    assert formula("fairscale_oss", counts, 4) == whole | {"optimizer": 200}
    shards = {"parameters": 100, "gradients": 100, "optimizer": 200, "average": 60}
    assert formula("fsdp2", counts, 4) == whole | shards


def test_differences_are_relative(outcomes: dict[str, Outcome]) -> None:
    (alone,) = outcomes["single"].ranks
    figures = [dict(each) for each in alone.figures]
    figures[1]["loss/itm"] *= 1.5
    figures[2]["gradient_norm"] *= 0.75
    off = dataclasses.replace(alone, figures=figures)
    assert greatest_difference(off, alone, norms=False) == pytest.approx(0.5)
    assert greatest_difference(off, alone, norms=True) == pytest.approx(0.25)


def test_tables_and_refusals(
    outcomes: dict[str, Outcome], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(strategies, "all_strategies", lambda: list(RUN))
    monkeypatch.setattr(strategies, "run", lambda name, *_: outcomes[name])
    assert main(["--sizes", "tiny", "--steps", "3"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^\| `fsdp2` \| 2 \| \S+ \| \S+ \| \S+ \| \S+ \|$", said, re.MULTILINE)
    held = outcomes["ddp"].ranks[1].held["optimizer"] / MIB
    assert re.search(rf"^\| `ddp`, rank 1 \| .*\| {held:.1f} \|", said, re.MULTILINE)
    assert "- strategy 'fairscale_sdp' needs CUDA" in said
    assert "--sizes tiny --steps 3" in said
    assert main(["--sizes", "tiny", "--steps", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"name", "value", "unit", "baseline", "ratio"} <= set(found)
    assert 0.4 < found["ratio"] < 0.6
    assert found["strategies"]["fairscale_sdp"]["refused"]


def test_a_strategy_that_trains_otherwise_is_told(
    outcomes: dict[str, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = [dict.fromkeys(each, 9.0) for each in outcomes["ddp"].ranks[0].figures]
    off = Outcome("ddp", [dataclasses.replace(one, figures=figures) for one in outcomes["ddp"].ranks])
    monkeypatch.setattr(strategies, "all_strategies", lambda: list(RUN))
    monkeypatch.setattr(strategies, "run", lambda name, *_: off if name == "ddp" else outcomes[name])
    assert main(["--sizes", "tiny"]) == 1


def test_ranks_that_do_not_divide_the_batch_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--sizes", "tiny", "--ranks", "3"])
    assert "--ranks must be 2 or more and divide the batch of 4, not 3" in capsys.readouterr().err
