"""The README's table: runs recipes/emoji.yaml with several seeds and sums up what the runs measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.seed_runs import (
    Spread,
    Table,
    TableError,
    machine,
    markdown,
    percent,
    read,
    run_seconds,
    shown,
    spread,
)
from mmtk.stages.environment import resolve_device

RECIPE = Path(__file__).parents[1] / "recipes" / "emoji.yaml"

SPLITS = ("test", "test_style", "test_novel")
MODELS = ("noisy", "bootstrapped")
FIGURES = {
    "T2I R@1": "retrieval/text_to_image/r1",
    "T2I R@10": "retrieval/text_to_image/r10",
    "I2T R@1": "retrieval/image_to_text/r1",
    "I2T R@10": "retrieval/image_to_text/r10",
    "CIDEr": "captions/cider",
    "BLEU-4": "captions/bleu4",
}
FILTER_FIGURES = ("roc_auc", "dropped_precision", "dropped_recall", "wrong_before", "wrong_after")
HEADLINE = "test/retrieval/text_to_image/r1"

AIM_R1 = 0.44  # nearest neighbours on raw pixels with perfect labels
AIM_CHANGE = 0.20
AIM_AUC = 0.90


@dataclass(frozen=True)
class Run:
    """What one finished run measured.

    Attributes:
        seed: its seed.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        seconds: wall-clock of its stages' last tries in all.
        metrics: figures of the model ``noisy`` and of the model ``bootstrapped`` by SPLIT/METRIC/FIGURE.
        filter: figures of the filter; one that is undefined is left out.
    """

    seed: int
    device: str
    seconds: float
    metrics: Mapping[str, Mapping[str, float]]
    filter: Mapping[str, float]

    @property
    def change(self) -> float | None:
        """Relative change of test T2I R@1 from noisy to bootstrapped; None where noisy has none right."""
        noisy, bootstrapped = (self.metrics[model][HEADLINE] for model in MODELS)
        return bootstrapped / noisy - 1 if noisy else None


def read_run(folder: Path, seed: int) -> Run:
    """Read a finished run. Raises TableError when it is not finished or lacks a figure."""
    recipe = read(folder / "recipe.resolved.yaml", yaml.safe_load)
    seconds = run_seconds(folder, recipe)
    metrics = {}
    for model in MODELS:
        path = folder / f"evaluate_{model}" / "metrics.json"
        metrics[model] = read(path, json.loads)
        wanted = [f"{split}/{figure}" for split in SPLITS for figure in FIGURES.values()]
        if missing := [name for name in wanted if name not in metrics[model]]:
            raise TableError(f"{path} has no figure {', '.join(missing)}")
    measured = read(folder / "evaluate_filter" / "filter.json", json.loads)
    return Run(seed, resolve_device(recipe["device"]), seconds, metrics, measured)


def summary(runs: Sequence[Run], command: str, at_once: int) -> dict[str, Any]:
    """Sum the runs up: everything that the table shows, and the runs' own figures."""
    figures = {
        split: {
            model: {
                name: spread([run.metrics[model][f"{split}/{key}"] for run in runs])
                for name, key in FIGURES.items()
            }
            for model in MODELS
        }
        for split in SPLITS
    }
    return {
        "command": command,
        "machine": {"device": ", ".join(sorted({run.device for run in runs})), **machine(at_once)},
        "aims": {"bootstrapped_r1": AIM_R1, "relative_change": AIM_CHANGE, "filter_roc_auc": AIM_AUC},
        "splits": figures,
        "relative_change": spread([run.change for run in runs]),
        "filter": {name: spread([run.filter.get(name) for run in runs]) for name in FILTER_FIGURES},
        "seconds": spread([run.seconds for run in runs]),
        "runs": [asdict(run) | {"relative_change": run.change} for run in runs],
    }


def table(result: Mapping[str, Any]) -> str:
    """Write the summary as Markdown."""
    seeds = [str(run["seed"]) for run in result["runs"]]
    machine, judged = result["machine"], result["filter"]
    best = result["splits"]["test"]["bootstrapped"]["T2I R@1"]
    rows = [
        ["split", "trained on", *FIGURES],
        *(
            [f"`{split}`", f"{model} pairs", *(shown(value) for value in by_model[model].values())]
            for split, by_model in result["splits"].items()
            for model in MODELS
        ),
    ]
    change = result["relative_change"]
    aims = [
        ["figure", "value", "aim", "reached"],
        ["T2I R@1 on `test`, bootstrapped pairs", shown(best), f"> {AIM_R1}", reached(best, AIM_R1)],
        [
            "its relative change from noisy to bootstrapped pairs",
            percent(change, signed=True),
            f"≥ +{AIM_CHANGE:.0%}",
            reached(change, AIM_CHANGE, or_equal=True),
        ],
        [
            "filter: ROC AUC, wrong against right web texts",
            shown(judged["roc_auc"]),
            f"≥ {AIM_AUC:.2f}",
            reached(judged["roc_auc"], AIM_AUC, or_equal=True),
        ],
        ["filter: precision of what was dropped", shown(judged["dropped_precision"]), "", ""],
        ["filter: recall of the wrong texts", shown(judged["dropped_recall"]), "", ""],
        ["wrong web texts before the filter", percent(judged["wrong_before"]), "", ""],
        ["wrong web texts after the filter", percent(judged["wrong_after"]), "", ""],
        ["minutes per run", shown(result["seconds"], 1 / 60, 1), "", ""],
    ]
    spreads = "mean ± sample standard deviation over the seeds" if len(seeds) > 1 else "the seed"
    side = f", {machine['runs_at_once']} runs side by side" if machine["runs_at_once"] > 1 else ""
    note = (
        f"Shown: {spreads} {', '.join(seeds)}. Made by `{result['command']}` on {machine['device']} "
        f"({machine['cores']} cores{side}, OMP_NUM_THREADS={machine['threads_per_run']}) "
        f"with torch {machine['torch']}."
    )
    return f"{markdown(rows)}\n{markdown(aims)}\n{note}\n"


def reached(value: Spread | None, aim: float, or_equal: bool = False) -> str:
    """Say whether the mean reaches the aim."""
    if value is None:
        return "no"
    return "yes" if value.mean > aim or (or_equal and value.mean == aim) else "no"


TABLE = Table("emoji_table", (__doc__ or "").splitlines()[0], RECIPE, read_run, summary, table)

if __name__ == "__main__":
    sys.exit(TABLE.main(sys.argv[1:]))
