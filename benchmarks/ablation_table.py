"""The tables of docs/ablation.md: recipes/capfilt_ablation.yaml over seeds, beside the paper's direction."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from mmtk_capfilt.calibration.figures import calibrate
from mmtk_capfilt.calibration.labels import judged_texts
from mmtk_capfilt.decisions import DROPPED, KEPT
from mmtk_capfilt.ledger import ITM
from mmtk_eval.evaluate_filter import LEDGER_COLUMNS, TRUTH_COLUMNS, filter_figures

from benchmarks.seed_runs import (
    Spread,
    Table,
    machine,
    markdown,
    percent,
    read,
    run_seconds,
    shown,
    spread,
)
from mmtk.api import WEB, read_columns

RECIPE = Path(__file__).parents[1] / "recipes" / "capfilt_ablation.yaml"
SPLITS = ("test", "test_style")
FIGURES = {
    "I2T R@1": "retrieval/image_to_text/r1",
    "T2I R@1": "retrieval/text_to_image/r1",
    "T2I R@10": "retrieval/text_to_image/r10",
    "CIDEr": "captions/cider",
}
WAYS = {
    "none": "no CapFilt",
    "filter": "filter",
    "captioner": "captioner",
    "both": "captioner and filter",
    "beam": "both, captions by beam search",
    "shared": "both, in one model",
    "round_2": "both, a second round",
}
NOISE_KINDS = ("swap", "filename", "foreign", "tags")
JUDGED = tuple(way for way in WAYS if way not in ("none", "captioner"))
ROUNDS = ("both", "round_2")  # whose filters are judged at the threshold that calibrate proposes
FILTER_FIGURES = {
    "ROC AUC": "roc_auc",
    "dropped: precision": "dropped_precision",
    "dropped: recall": "dropped_recall",
    **{f"precision: {kind}": f"dropped_precision/{kind}" for kind in NOISE_KINDS},
    **{f"recall: {kind}": f"dropped_recall/{kind}" for kind in NOISE_KINDS},
    "wrong before": "wrong_before",
    "wrong after": "wrong_after",
    "captions right": "synthetic_right",
    "kept captions right": "synthetic_kept_right",
}


PROPOSED_FIGURES = {"threshold": "threshold", **dict(list(FILTER_FIGURES.items())[:-2])}


@dataclass(frozen=True)
class Comparison:
    """Two ways of bootstrapping that the paper compares: which is better there, and by how much.

    Attributes:
        table: of the paper (arXiv 2201.12086).
        paper: difference of COCO I2T R@1, T2I R@1 and CIDEr, ``better`` minus ``worse``, in points; None for
            what the paper hasn't.
    """

    table: str
    better: str
    worse: str
    paper: tuple[float, float, float] | None


# Table 1's rows are ViT-B on 14M pairs: 78.4/60.7/127.8, F 79.1/61.5/128.2, C 79.7/62.0/128.9, both
# 80.6/63.1/129.7. Table 2's beam row: 79.6/61.9/128.9. Table 4's shared row: 79.8/62.2/129.0.
COMPARISONS = (
    Comparison("1", "filter", "none", (0.7, 0.8, 0.4)),
    Comparison("1", "captioner", "none", (1.3, 1.3, 1.1)),
    Comparison("1", "both", "none", (2.2, 2.4, 1.9)),
    Comparison("1", "both", "filter", (1.5, 1.6, 1.5)),
    Comparison("1", "both", "captioner", (0.9, 1.1, 0.8)),
    Comparison("2", "both", "beam", (1.0, 1.2, 0.8)),
    Comparison("4", "both", "shared", (0.8, 0.9, 0.7)),
    Comparison("", "round_2", "both", None),
)
COMPARED = ("I2T R@1", "T2I R@1", "CIDEr")


@dataclass(frozen=True)
class Run:
    """What one finished run measured.

    Attributes:
        seconds: wall-clock of its stages' last tries in all.
        metrics: by way and SPLIT/METRIC/FIGURE.
        filters: by way, figures of its filter against the truth.
        proposed: by round, the same at the threshold that ``mmtk capfilt calibrate`` proposes, and that one.
        dropped: by way, the share of web and synthetic texts that its filter drops: the paper's noise ratio.
    """

    seed: int
    seconds: float
    metrics: Mapping[str, Mapping[str, float]]
    filters: Mapping[str, Mapping[str, float]]
    proposed: Mapping[str, Mapping[str, float]]
    dropped: Mapping[str, float]


def read_run(folder: Path, seed: int) -> Run:
    """Read a finished run. Raises TableError when it is not finished or lacks a file."""
    seconds = run_seconds(folder, read(folder / "recipe.resolved.yaml", yaml.safe_load))
    funnels = {way: read(folder / f"capfilt_{way}" / "funnel.json", json.loads) for way in JUDGED}
    return Run(
        seed,
        seconds,
        {way: read(folder / f"evaluate_{way}" / "metrics.json", json.loads) for way in WAYS},
        {way: read(folder / f"judge_{way}" / "filter.json", json.loads) for way in JUDGED},
        {way: at_proposed_threshold(folder, way) for way in ROUNDS},
        {way: dropped_share(funnel) for way, funnel in funnels.items()},
    )


def at_proposed_threshold(folder: Path, way: str) -> dict[str, float]:
    """Figures of a pass's filter over web texts, were it to use the threshold proposed for them."""
    ledger, truth = folder / f"capfilt_{way}" / "ledger.parquet", folder / "emoji" / "truth.parquet"
    proposal = calibrate(judged_texts(ledger, truth, ITM, WEB)).proposal.figures
    assert proposal is not None, "without a demanded precision there is always one"
    rows = [
        row | {"decision": KEPT if row[ITM] >= proposal.threshold else DROPPED}
        for row in read_columns(ledger, LEDGER_COLUMNS).to_pylist()
        if row["source"] == WEB and row[ITM] is not None
    ]
    known = {row["key"]: row for row in read_columns(truth, TRUTH_COLUMNS).to_pylist()}
    return {"threshold": proposal.threshold} | filter_figures(rows, known)


def dropped_share(funnel: Mapping[str, int]) -> float:
    """The share of web and synthetic texts that are dropped."""
    dropped, kept = (
        sum(funnel[f"{fate}_{source}"] for source in ("web", "synthetic")) for fate in ("dropped", "kept")
    )
    return dropped / (dropped + kept)


def summary(runs: Sequence[Run], command: str, at_once: int) -> dict[str, Any]:
    """Sum the runs up: everything that the tables show, and the runs' own figures."""
    return {
        "command": command,
        "machine": machine(at_once),
        "ways": {
            way: {
                f"{split}/{name}": spread([run.metrics[way][f"{split}/{key}"] for run in runs])
                for split in SPLITS
                for name, key in FIGURES.items()
            }
            for way in WAYS
        },
        "dropped": {way: spread([run.dropped[way] for run in runs]) for way in JUDGED},
        "filters": {
            way: {
                name: spread([run.filters[way].get(key) for run in runs])
                for name, key in FILTER_FIGURES.items()
            }
            for way in JUDGED
        },
        "proposed": {
            way: {
                name: spread([run.proposed[way].get(key) for run in runs])
                for name, key in PROPOSED_FIGURES.items()
            }
            for way in ROUNDS
        },
        "comparisons": [
            {"table": one.table, "better": one.better, "worse": one.worse, "paper": one.paper}
            | {name: difference(runs, one, FIGURES[name]) for name in COMPARED}
            for one in COMPARISONS
        ],
        "seconds": spread([run.seconds for run in runs]),
        "runs": [asdict(run) for run in runs],
    }


def difference(runs: Sequence[Run], one: Comparison, key: str) -> Spread | None:
    """The gain of the better way over the worse one within a run, in points, as the splits' mean."""

    def mean(run: Run, way: str) -> float:
        return 100 * sum(run.metrics[way][f"{split}/{key}"] for split in SPLITS) / len(SPLITS)

    return spread([mean(run, one.better) - mean(run, one.worse) for run in runs])


def tables(result: Mapping[str, Any]) -> str:
    """Write the summary as Markdown."""
    columns = [f"{split}/{name}" for split in SPLITS for name in FIGURES]
    ways = [
        [
            "trained on pairs cleaned by",
            "texts dropped",
            *(f"`{split}` {name}" for split in SPLITS for name in FIGURES),
        ],
        *(
            [
                WAYS[way],
                percent(result["dropped"].get(way)) if way in JUDGED else "",
                *(shown(figures[c]) for c in columns),
            ]
            for way, figures in result["ways"].items()
        ),
    ]
    compared = [
        ["paper's table", "comparison", *(f"{name}, points (paper)" for name in COMPARED), "as in the paper"]
    ]
    for one in result["comparisons"]:
        paper = one["paper"] or (None,) * len(COMPARED)
        cells = [
            f"{signed(one[name])} ({'none' if theirs is None else f'{theirs:+.1f}'})"
            for name, theirs in zip(COMPARED, paper, strict=True)
        ]
        words = f"{WAYS[one['better']]} over {WAYS[one['worse']]}"
        compared.append([one["table"] or "none", words, *cells, agreement(one)])
    judged = by_figure(result["filters"], "the filter of", FILTER_FIGURES)
    proposed = by_figure(result["proposed"], "the filter at its proposed threshold", PROPOSED_FIGURES)
    return "\n".join([*map(markdown, (ways, compared, judged, proposed)), note(result), ""])


def by_figure(
    ways: Mapping[str, Mapping[str, Spread | None]],
    heading: str,
    figures: Iterable[str],
    names: Mapping[str, str] = WAYS,
) -> list[list[str]]:
    """A table's rows: a heading with the ways, then one for each figure."""
    rows = [[name, *(shown(of_way[name]) for of_way in ways.values())] for name in figures]
    return [[heading, *(names[way] for way in ways)], *rows]


def note(result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    seeds = ", ".join(str(run["seed"]) for run in result["runs"])
    return (
        f"Mean ± sample standard deviation over the seeds {seeds}. Made by `{result['command']}` on the CPU "
        f"({machine['cores']} cores, {machine['runs_at_once']} runs at a time, "
        f"OMP_NUM_THREADS={machine['threads_per_run']}, {shown(result['seconds'], 1 / 60, 0)} minutes a run) "
        f"with torch {machine['torch']}."
    )


def signed(value: Spread | None) -> str:
    if value is None:
        return "undefined"
    return f"{value.mean:+.1f}" + ("" if value.deviation is None else f" ± {value.deviation:.1f}")


def agreement(one: Mapping[str, Any]) -> str:
    """Say in how many figures the direction is the paper's, and in how many it stands out of the spread."""
    if one["paper"] is None:
        return ""
    same = sum(one[name] is not None and one[name].mean > 0 for name in COMPARED)
    clear = sum(
        one[name] is not None
        and one[name].deviation is not None
        and abs(one[name].mean) > one[name].deviation
        for name in COMPARED
    )
    return f"{same} of {len(COMPARED)}; {clear} beyond one deviation"


TABLE = Table("ablation_table", (__doc__ or "").splitlines()[0], RECIPE, read_run, summary, tables)

if __name__ == "__main__":
    sys.exit(TABLE.main(sys.argv[1:]))
