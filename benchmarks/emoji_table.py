"""The README's table: runs recipes/emoji.yaml with several seeds and sums up what the runs measured."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from mmtk.errors import MmtkError
from mmtk.stages.environment import resolve_device
from mmtk.stages.interrupt import Interrupted, interruptible
from mmtk.stages.record import Status, read_record, write_text

RECIPE = Path(__file__).parents[1] / "recipes" / "emoji.yaml"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
USER_ERROR = 2

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


class TableError(MmtkError):
    """A run that failed or is not finished, or a file that the table can't go into."""


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


@dataclass(frozen=True)
class Spread:
    """Mean over the seeds and sample standard deviation; the latter is None with a single seed."""

    mean: float
    deviation: float | None


def spread(values: Sequence[float | None]) -> Spread | None:
    """Sum up one figure; None where a run has none."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None)


def mmtk_command(folder: Path, seed: int, overrides: Sequence[str]) -> list[str]:
    run = [sys.executable, "-m", "mmtk", "run", str(RECIPE)]
    return [*run, f"run_dir={folder}", f"seed={seed}", *overrides]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(at_once: int) -> int:
    """How many threads each of ``at_once`` runs side by side gets."""
    return max(1, cores() // at_once)


def run_seeds(seeds: Sequence[int], runs: Path, at_once: int, overrides: Sequence[str]) -> None:
    """Run the recipe once per seed in ``runs/seed-N``, ``at_once`` of them side by side.

    After a failure no further run is started, but those under way are waited for.

    Raises:
        TableError: runs failed.
        Interrupted: a signal asked for an end; the runs were asked likewise and have ended.
    """
    waiting = deque(seeds)
    running: dict[int, subprocess.Popen[bytes]] = {}
    failed: list[str] = []
    try:
        while running or (waiting and not failed):
            while waiting and len(running) < at_once and not failed:
                seed = waiting.popleft()
                running[seed] = start(seed, runs, at_once, overrides)
            time.sleep(0.05)
            ended = {seed: code for seed, run in running.items() if (code := run.poll()) is not None}
            for seed, code in ended.items():
                del running[seed]
                if code:
                    failed.append(f"the run with seed {seed} ended with exit code {code}")
    finally:
        for run in running.values():
            run.terminate()
        for run in running.values():
            run.wait()
    if failed:
        raise TableError("; ".join(failed) + (f"; see {runs}/seed-N.log" if at_once > 1 else ""))


def start(seed: int, runs: Path, at_once: int, overrides: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start one run. What it says goes to the error stream, or to ``runs/seed-N.log`` if it is not alone.

    It gets a session of its own: Ctrl-C then reaches this process alone, which hands it on once.
    """
    runs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        out: Any = sys.stderr
        if at_once > 1:
            out = stack.enter_context((runs / f"seed-{seed}.log").open("wb"))
            print(f"seed {seed} runs; see {out.name}", file=sys.stderr)
        return subprocess.Popen(
            mmtk_command(runs / f"seed-{seed}", seed, overrides),
            env={**os.environ, "OMP_NUM_THREADS": str(threads(at_once))},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def read_run(folder: Path, seed: int) -> Run:
    """Read a finished run. Raises TableError when it is not finished or lacks a figure."""
    recipe = read(folder / "recipe.resolved.yaml", yaml.safe_load)
    seconds = 0.0
    for stage in recipe["stages"]:
        record = read_record(folder / stage)
        if record is None or record.status is not Status.DONE:
            status = record.status if record else "has not been run"
            raise TableError(f"{folder}: its stage '{stage}' is not done ({status})")
        tried = datetime.fromisoformat(record.finished) - datetime.fromisoformat(record.started)
        seconds += tried.total_seconds()
    metrics = {}
    for model in MODELS:
        path = folder / f"evaluate_{model}" / "metrics.json"
        metrics[model] = read(path, json.loads)
        wanted = [f"{split}/{figure}" for split in SPLITS for figure in FIGURES.values()]
        if missing := [name for name in wanted if name not in metrics[model]]:
            raise TableError(f"{path} has no figure {', '.join(missing)}")
    measured = read(folder / "evaluate_filter" / "filter.json", json.loads)
    return Run(seed, resolve_device(recipe["device"]), seconds, metrics, measured)


def read(path: Path, parse: Any) -> dict[str, Any]:
    """Parse a file of a run. Raises TableError when there is none or it is damaged."""
    try:
        parsed: dict[str, Any] = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TableError(f"there is no {path}: this run is missing or not finished") from None
    except (ValueError, yaml.YAMLError) as error:
        raise TableError(f"{path} can't be read: {error}") from None
    return parsed


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
        "machine": {
            "device": ", ".join(sorted({run.device for run in runs})),
            "cores": cores(),
            "runs_at_once": at_once,
            "threads_per_run": threads(at_once),
            "torch": version("torch"),
        },
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


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; its first row is the heading."""
    heading, *body = (f"| {' | '.join(row)} |\n" for row in rows)
    return "".join([heading, "|" + " --- |" * len(rows[0]) + "\n", *body])


def shown(value: Spread | None, factor: float = 1, places: int = 3) -> str:
    if value is None:
        return "undefined"
    mean = f"{value.mean * factor:.{places}f}"
    return mean if value.deviation is None else f"{mean} ± {value.deviation * factor:.{places}f}"


def percent(value: Spread | None, signed: bool = False) -> str:
    if value is None:
        return "undefined"
    mean = f"{value.mean * 100:{'+' if signed else ''}.1f}"
    return f"{mean}%" if value.deviation is None else f"{mean} ± {value.deviation * 100:.1f}%"


def reached(value: Spread | None, aim: float, or_equal: bool = False) -> str:
    """Say whether the mean reaches the aim."""
    if value is None:
        return "no"
    return "yes" if value.mean > aim or (or_equal and value.mean == aim) else "no"


def around_marks(path: Path) -> tuple[str, str]:
    """Return what stands before and behind the marks in ``path``. Raises TableError without one pair."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TableError(f"{path} can't be read: {error.strerror}") from None
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise TableError(f"{path} needs one line {BEGIN} and behind it one line {END}")
    return text.partition(BEGIN)[0], text.partition(END)[2]


def write_between_marks(path: Path, text: str) -> None:
    """Replace what stands between the marks in ``path``. Raises TableError without one pair of them."""
    before, behind = around_marks(path)
    write_text(path, f"{before}{BEGIN}\n\n{text}\n{END}{behind}")


def seed_list(text: str) -> list[int]:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise argparse.ArgumentTypeError(f"expected seeds such as 0,1,2, not '{text}'")
    return list(dict.fromkeys(map(int, text.split(","))))


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, not '{text}'")
    return int(text)


def override(text: str) -> str:
    key, equals, _value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected key=value, not '{text}'")
    if key in ("seed", "run_dir"):
        raise argparse.ArgumentTypeError(f"'{key}' is set per run; use --seeds and --runs")
    return text


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--seeds", type=seed_list, default=[0, 1, 2], metavar="0,1,2")
    parser.add_argument("--runs", type=Path, default=Path("runs/emoji_table"), metavar="FOLDER")
    parser.add_argument("--at-once", type=positive, default=1, metavar="N", help="runs side by side")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--write", type=Path, metavar="FILE", help=f"put the table between {BEGIN} and {END}")
    parser.add_argument("overrides", nargs="*", type=override, metavar="key=value", help="as of mmtk run")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run, read and print; return 0, 2 for a failure with a message, 130 or 143 for an interruption."""
    options = build_parser().parse_intermixed_args(argv)
    command = shlex.join(["python", "benchmarks/emoji_table.py", *argv])
    try:
        if options.write:
            around_marks(options.write)  # an hour of runs must not end in this error
        with interruptible():
            run_seeds(options.seeds, options.runs, options.at_once, options.overrides)
        runs = [read_run(options.runs / f"seed-{seed}", seed) for seed in options.seeds]
        result = summary(runs, command, options.at_once)
        if options.write:
            write_between_marks(options.write, table(result))
    except MmtkError as error:
        print(f"emoji_table: {error}", file=sys.stderr)
        return USER_ERROR
    except Interrupted as signal_:
        print("emoji_table: interrupted; the same command goes on from here", file=sys.stderr)
        return signal_.exit_code
    print(json.dumps(result, indent=2, default=asdict) if options.json else table(result).rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
