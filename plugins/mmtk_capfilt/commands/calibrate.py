"""Say what thresholds do to texts that are known to be right or wrong, and propose one."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mmtk.api import (
    DataError,
    add_model_arguments,
    count_from,
    load_model,
    note,
    output_console,
    printable,
    progress,
)
from mmtk_capfilt.commands.arguments import ledger_path, share

if TYPE_CHECKING:
    from mmtk_capfilt.calibration.figures import Calibration, Judged

READERS = {".tar": "webdataset", ".parquet": "parquet"}
ITM = "itm_probability"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ledger",
        type=Path,
        nargs="?",
        metavar="LEDGER",
        help="the ledger.parquet of a pass, or the pass's folder",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="which of the ledger's texts are right: a .parquet or .csv with the columns key and clean, "
        "and text where keys have several; else the labels that the run's data has",
    )
    parser.add_argument(
        "--source", choices=("web", "synthetic"), help="the ledger's texts that are judged (default: web)"
    )
    parser.add_argument(
        "--pairs",
        type=Path,
        metavar="PATH",
        help="instead of a ledger: shards or Parquet files of human pairs, which --model scores "
        "against their own shuffles",
    )
    parser.add_argument(
        "--count",
        type=count_from(2),
        default=2000,
        metavar="N",
        help="how many of --pairs are taken at most (default: %(default)s)",
    )
    add_model_arguments(parser, otherwise="; only with --pairs")
    parser.add_argument("--score", default=ITM, metavar="NAME", help="the score (default: %(default)s)")
    parser.add_argument(
        "--min-precision",
        type=share,
        metavar="P",
        help="propose the lowest threshold of this precision; else the one that best balances right texts "
        "kept and wrong ones dropped",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw it: a page that needs nothing else (.html), or a picture (.png)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object, and no tables")


def execute(arguments: argparse.Namespace) -> int:
    _check(arguments)
    from mmtk_capfilt.calibration.figures import calibrate

    judged = _of_pairs(arguments) if arguments.pairs else _of_ledger(arguments)
    calibration = calibrate(judged, arguments.min_precision)
    if arguments.json:
        print(json.dumps(calibration.plain(), indent=2))
    else:
        _show(calibration)
    if arguments.plot:
        from mmtk_capfilt.calibration.plot import write_plot

        write_plot(calibration, arguments.plot)
        note(f"wrote {arguments.plot}")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Raises DataError for arguments that don't go together."""
    if (arguments.ledger is None) == (arguments.pairs is None):
        raise DataError("name a ledger, or human pairs with --pairs, and not both")
    if arguments.pairs and arguments.model is None:
        raise DataError("--pairs needs --model: a run's folder or a checkpoint's, which scores the pairs")
    wrong = (
        {"--labels": arguments.labels, "--source": arguments.source}
        if arguments.pairs
        else {"--model": arguments.model}
    )
    for option, value in wrong.items():
        if value is not None:
            other = (
                "a ledger, and not with --pairs" if arguments.pairs else "--pairs: a ledger has its scores"
            )
            raise DataError(f"{option} goes with {other}")
    plot = arguments.plot
    if plot and plot.suffix not in (".html", ".png"):
        raise DataError(f"--plot {plot}: expected a name that ends in .html or .png")
    if plot and not plot.parent.is_dir():
        raise DataError(f"--plot {plot}: there is no folder {plot.parent}")


def _of_ledger(arguments: argparse.Namespace) -> Judged:
    from mmtk.api import load_plugins
    from mmtk_capfilt.calibration.labels import find_labels, judged_texts

    path = ledger_path(arguments.ledger)
    labels = arguments.labels or find_labels(path, load_plugins().registry)
    judged = judged_texts(path, labels, arguments.score, arguments.source or "web")
    if arguments.labels is None:
        note(f"labels: {labels}")
    return judged


def _of_pairs(arguments: argparse.Namespace) -> Judged:
    from mmtk.api import blueprint, from_options, load_plugins
    from mmtk_capfilt.calibration.shuffled import SCORES, judged_pairs

    if arguments.score not in SCORES:
        raise DataError(f"--score {arguments.score}: with --pairs it is {' or '.join(SCORES)}")
    path: Path = arguments.pairs
    use = "webdataset" if path.is_dir() else READERS.get(path.suffix)
    if use is None:
        raise DataError(f"--pairs {path}: expected a folder of shards, or a file .tar or .parquet")
    registry = load_plugins().registry
    reader = blueprint(
        from_options("reader", use, {"path": json.dumps(str(path))}, registry), registry, {}
    ).build()
    model = load_model(arguments, "match")
    with progress("pairs", min(arguments.count, len(reader))) as advance:
        return judged_pairs(model, reader, arguments.score, arguments.count, arguments.batch_size, advance)


def _show(calibration: Calibration) -> None:
    """Print the tables, and the proposal behind them."""
    from rich import box
    from rich.table import Table

    from mmtk_capfilt.calibration.plot import shown_rows

    judged, proposal = calibration.judged, calibration.proposal
    right = int(judged.right.sum())
    print(
        printable(
            f"{len(judged.right):,} {judged.what}, {right:,} of them right ({right / len(judged.right):.0%})"
        )
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("threshold", "kept", "precision", "recall", "wrong dropped", ""):
        table.add_column(heading, justify="right")
    for row in shown_rows(calibration):
        precision = "-" if row.precision is None else f"{row.precision:.3f}"
        mark = "<- proposed" if row == proposal.figures else ""
        table.add_row(
            f"{row.threshold:g}",
            f"{row.kept:.1%}",
            precision,
            f"{row.recall:.3f}",
            f"{row.wrong_dropped:.3f}",
            mark,
        )
    console = output_console()
    console.print(table)
    if calibration.bins:
        bins = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in (judged.score, "texts", "expected right", "observed right"):
            bins.add_column(heading, justify="right")
        for one in calibration.bins:
            bins.add_row(
                f"{one.low:.1f} to {one.high:.1f}",
                f"{one.texts:,}",
                f"{one.expected:.1%}",
                f"{one.observed:.1%}",
            )
        console.print(bins)
        print(f"expected calibration error: {calibration.error:.3f}")
    print(f"ROC AUC: {calibration.roc_auc:.3f}")
    figures = proposal.figures
    print(f"proposed threshold: {f'{figures.threshold:g}' if figures else 'none'} ({proposal.reason})")
    if calibration.doubt:
        print(f"take no threshold by this: {calibration.doubt}")
