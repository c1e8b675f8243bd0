"""How well recipes/emoji.yaml's filter tells wrong web texts from right ones, by kind of noise, over seeds.

Runs the stages that make the filter, as they are in the recipe, and a pass that scores all web pairs without
captioning them: what ``python -m benchmarks.emoji_table`` also does, in half its time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.ablation_table import PROPOSED_FIGURES, at_proposed_threshold, by_figure, note
from benchmarks.seed_runs import Table, machine, markdown, read, run_seconds, spread

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "runs" / "filter_table" / "filter.yaml"
STAGES = ("emoji", "vocabulary", "pretrain_for_fold_0", "filter_0", "pretrain_for_fold_1", "filter_1")
PASS, JUDGED = "capfilt_filter", "judge_filter"
OWN, PROPOSED = "the recipe's threshold", "the proposed threshold"


@dataclass(frozen=True)
class Run:
    """What one finished run measured: figures of the filter by which threshold it uses."""

    seed: int
    seconds: float
    figures: Mapping[str, Mapping[str, float]]


def filter_recipe() -> dict[str, Any]:
    """The part of recipes/emoji.yaml that makes its filter, and a pass of the filter alone."""
    command = [sys.executable, "-m", "mmtk", "run", str(ROOT / "recipes" / "emoji.yaml"), "--resolved"]
    recipe = yaml.safe_load(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    stages = {name: recipe["stages"][name] for name in STAGES}
    scoring = recipe["stages"]["bootstrapped"]
    filters = [step for step in scoring["steps"] if step.get("steps", [{}])[0].get("use") == "itm_filter"]
    judging = recipe["stages"]["evaluate_filter"] | {"ledger": {"from": f"{PASS}.ledger"}}
    return recipe | {"stages": stages | {PASS: scoring | {"steps": filters}, JUDGED: judging}}


def read_run(folder: Path, seed: int) -> Run:
    """Read a finished run. Raises TableError when it is not finished or lacks a file."""
    recipe = read(folder / "recipe.resolved.yaml", yaml.safe_load)
    threshold = recipe["stages"][PASS]["steps"][0]["steps"][0]["threshold"]
    own = {"threshold": threshold, **read(folder / JUDGED / "filter.json", json.loads)}
    proposed = at_proposed_threshold(folder, PASS.removeprefix("capfilt_"))
    return Run(seed, run_seconds(folder, recipe), {OWN: own, PROPOSED: proposed})


def summary(runs: Sequence[Run], command: str, at_once: int) -> dict[str, Any]:
    """Sum the runs up: everything that the table shows, and the runs' own figures."""
    return {
        "command": command,
        "machine": machine(at_once),
        "filter": {
            way: {
                name: spread([run.figures[way].get(key) for run in runs])
                for name, key in PROPOSED_FIGURES.items()
            }
            for way in (OWN, PROPOSED)
        },
        "seconds": spread([run.seconds for run in runs]),
        "runs": [asdict(run) for run in runs],
    }


def table(result: Mapping[str, Any]) -> str:
    """Write the summary as Markdown."""
    names = {way: way for way in result["filter"]}
    rows = by_figure(result["filter"], "the filter at", PROPOSED_FIGURES, names)
    return "\n".join([markdown(rows), note(result), ""])


TABLE = Table("filter_table", (__doc__ or "").splitlines()[0], RECIPE, read_run, summary, table)


def main(argv: Sequence[str]) -> int:
    """Write the recipe, run it with each seed and print the table."""
    RECIPE.parent.mkdir(parents=True, exist_ok=True)
    RECIPE.write_text(yaml.safe_dump(filter_recipe(), sort_keys=False), encoding="utf-8")
    return TABLE.main(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
