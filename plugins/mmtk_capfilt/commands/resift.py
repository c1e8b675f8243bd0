"""Apply other thresholds to a finished pass by the scores in its ledger, without a model."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from pathlib import Path

from mmtk.api import DataError, note, printable, progress
from mmtk_capfilt.commands.arguments import ledger_path, number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ledger",
        type=Path,
        metavar="LEDGER",
        help="the ledger.parquet of a finished pass, or the pass's folder",
    )
    parser.add_argument(
        "--threshold",
        type=number,
        required=True,
        metavar="X",
        help="a text is kept if its score is at least this",
    )
    parser.add_argument(
        "--synthetic-threshold",
        type=number,
        metavar="X",
        help="the same for synthetic texts; else what the pass has for them alone, or --threshold",
    )
    parser.add_argument(
        "--score", metavar="NAME", help="the score; else the one that the pass has a threshold of"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where shards, ledger and counts are written; else beside the pass's folder, "
        "with the thresholds in its name",
    )


def execute(arguments: argparse.Namespace) -> int:
    from mmtk.api import load_plugins
    from mmtk_capfilt.accounts import summary
    from mmtk_capfilt.resift import chosen_score, read_pass, resift
    from mmtk_capfilt.rules import with_thresholds

    finished = read_pass(ledger_path(arguments.ledger), load_plugins().registry)
    score = chosen_score(finished, arguments.score)
    thresholds = (arguments.threshold, arguments.synthetic_threshold)
    _check_range(score, thresholds)
    rules = with_thresholds(finished.rules, score, *thresholds)
    folder = arguments.out or _beside(finished.path.parent, score, *thresholds)
    with progress("parts", len(finished.opened.parts)) as advance:
        counts = resift(finished, rules, folder, advance)
    note(summary(counts))
    print(f"wrote {printable(folder)}")
    return 0


def _check_range(score: str, thresholds: Iterable[float | None]) -> None:
    """Raises DataError for a threshold that no value of the score can have."""
    from mmtk_capfilt.ledger import ITC, ITM

    low, high = {ITM: (0.0, 1.0), ITC: (-1.0, 1.0)}.get(score, (-math.inf, math.inf))
    for threshold in thresholds:
        if threshold is not None and not low <= threshold <= high:
            raise DataError(f"a threshold of {score} is in [{low:g}, {high:g}], not {threshold:g}")


def _beside(folder: Path, score: str, threshold: float, synthetic_threshold: float | None) -> Path:
    ending = "" if synthetic_threshold is None else f"-synthetic-{synthetic_threshold:g}"
    named = folder.resolve() if folder.name in ("", "..") else folder  # they have names all the same
    return named.with_name(f"{named.name}-{score}-{threshold:g}{ending}")
