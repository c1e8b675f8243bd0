"""How much CPU time the light commands take: user and system time of whole processes."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.arguments import positive
from benchmarks.seed_runs import markdown

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "--help": 0.15,
    "list-plugins": 0.35,
    "check recipes/quickstart.yaml": 0.7,
    "check recipes/emoji.yaml": 0.7,
    "show head itm": None,
    "list-recipes": None,
}


def cpu_seconds(command: Sequence[str]) -> float:
    """CPU time of a process and those it waits for. Raises CalledProcessError when it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "mmtk", *command], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(repeats: int) -> dict[str, list[float]]:
    """Seconds by command, in turns, after one run each that fills the caches."""
    for command in COMMANDS:
        cpu_seconds(command.split())
    turns = [{command: cpu_seconds(command.split()) for command in COMMANDS} for _ in range(repeats)]
    return {command: [turn[command] for turn in turns] for command in COMMANDS}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--repeats", type=positive, default=10, metavar="N")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    options = parser.parse_args(argv)
    seconds = measure(options.repeats)
    if options.json:
        print(json.dumps(seconds, indent=2))
        return 0
    rows = [["command", "least", "median", "aim"]]
    for command, found in seconds.items():
        aim = COMMANDS[command]
        figures = [f"{min(found):.2f} s", f"{statistics.median(found):.2f} s", f"{aim} s" if aim else ""]
        rows.append([f"`mmtk {command}`", *figures])
    print(markdown(rows), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
