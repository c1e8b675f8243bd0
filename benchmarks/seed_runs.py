"""Tables over several seeds: running a recipe once per seed, and summing up what the runs measured."""

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
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from mmtk.errors import MmtkError
from mmtk.stages.interrupt import Interrupted, interruptible
from mmtk.stages.record import Status, read_record, write_text

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
USER_ERROR = 2


class TableError(MmtkError):
    """A run that failed or is not finished, or a file that the table can't go into."""


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


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(at_once: int) -> int:
    """How many threads each of ``at_once`` runs side by side gets."""
    return max(1, cores() // at_once)


def machine(at_once: int) -> dict[str, Any]:
    """Where ``at_once`` runs side by side were made, for a summary."""
    return {
        "cores": cores(),
        "runs_at_once": at_once,
        "threads_per_run": threads(at_once),
        "torch": version("torch"),
    }


def run_seeds(
    command: Callable[[Path, int], list[str]], seeds: Sequence[int], runs: Path, at_once: int
) -> None:
    """Run a command, made of folder and seed, once per seed in ``runs/seed-N``, ``at_once`` at a time.

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
                running[seed] = start(command(runs / f"seed-{seed}", seed), seed, runs, at_once)
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


def start(command: Sequence[str], seed: int, runs: Path, at_once: int) -> subprocess.Popen[bytes]:
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
            command,
            env={**os.environ, "OMP_NUM_THREADS": str(threads(at_once))},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def read(path: Path, parse: Any) -> dict[str, Any]:
    """Parse a file of a run. Raises TableError when there is none or it is damaged."""
    try:
        parsed: dict[str, Any] = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TableError(f"there is no {path}: this run is missing or not finished") from None
    except (ValueError, yaml.YAMLError) as error:
        raise TableError(f"{path} can't be read: {error}") from None
    return parsed


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


def mmtk_command(recipe: Path, folder: Path, seed: int, overrides: Sequence[str]) -> list[str]:
    run = [sys.executable, "-m", "mmtk", "run", str(recipe)]
    return [*run, f"run_dir={folder}", f"seed={seed}", *overrides]


def run_seconds(folder: Path, recipe: dict[str, Any]) -> float:
    """Wall-clock of a run's stages, their last tries in all. Raises TableError when one is not done."""
    seconds = 0.0
    for stage in recipe["stages"]:
        record = read_record(folder / stage)
        if record is None or record.status is not Status.DONE:
            status = record.status if record else "has not been run"
            raise TableError(f"{folder}: its stage '{stage}' is not done ({status})")
        tried = datetime.fromisoformat(record.finished) - datetime.fromisoformat(record.started)
        seconds += tried.total_seconds()
    return seconds


def add_arguments(parser: argparse.ArgumentParser, runs: Path) -> None:
    """Add what every table takes: seeds, the folder of their runs, how many at once, where the table goes."""
    parser.add_argument("--seeds", type=seed_list, default=[0, 1, 2], metavar="0,1,2")
    parser.add_argument("--runs", type=Path, default=runs, metavar="FOLDER")
    parser.add_argument("--at-once", type=positive, default=1, metavar="N", help="runs side by side")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--write", type=Path, metavar="FILE", help=f"put the table between {BEGIN} and {END}")
    parser.add_argument("overrides", nargs="*", type=override, metavar="key=value", help="as of mmtk run")


@dataclass(frozen=True)
class Table:
    """What makes one table out of runs of a recipe.

    Attributes:
        name: of its module in ``benchmarks``; its runs go to ``runs/NAME`` where no folder is given.
        description: a line for ``--help``.
        recipe: run once per seed.
        read_run: from a finished run's folder and seed, what it measured.
        summary: sums runs up; given the command and how many ran at a time.
        show: writes the summary as Markdown.
    """

    name: str
    description: str
    recipe: Path
    read_run: Callable[[Path, int], Any]
    summary: Callable[[list[Any], str, int], dict[str, Any]]
    show: Callable[[Mapping[str, Any]], str]

    def main(self, argv: Sequence[str]) -> int:
        """Run, read and print; return 0, 2 for a failure with a message, 130 or 143 for an interruption."""
        parser = argparse.ArgumentParser(description=self.description, allow_abbrev=False)
        add_arguments(parser, Path("runs", self.name))
        options = parser.parse_intermixed_args(argv)
        try:
            result = self._make(options, shlex.join(["python", "-m", f"benchmarks.{self.name}", *argv]))
        except MmtkError as error:
            print(f"{self.name}: {error}", file=sys.stderr)
            return USER_ERROR
        except Interrupted as signal_:
            print(f"{self.name}: interrupted; the same command goes on from here", file=sys.stderr)
            return signal_.exit_code
        shown_ = self.show(result).rstrip()
        print(json.dumps(result, indent=2, default=asdict) if options.json else shown_)
        return 0

    def _make(self, options: argparse.Namespace, command: str) -> dict[str, Any]:
        if options.write:
            around_marks(options.write)  # hours of runs must not end in this error

        def of_seed(folder: Path, seed: int) -> list[str]:
            return mmtk_command(self.recipe, folder, seed, options.overrides)

        with interruptible():
            run_seeds(of_seed, options.seeds, options.runs, options.at_once)
        runs = [self.read_run(options.runs / f"seed-{seed}", seed) for seed in options.seeds]
        result = self.summary(runs, command, options.at_once)
        if options.write:
            write_between_marks(options.write, self.show(result))
        return result
