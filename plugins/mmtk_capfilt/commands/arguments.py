"""What the commands share: the ledger they are given, and numbers in their arguments."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from mmtk.api import DataError

LEDGER = "ledger.parquet"


def ledger_path(given: Path) -> Path:
    """The ledger itself, or that of a pass's folder. Raises DataError when there is none."""
    path = given / LEDGER if given.is_dir() else given
    if path.is_file():
        return path
    if not given.is_dir():
        raise DataError(f"{given}: there is no such file; expected a pass's {LEDGER} or its folder")
    inner = sorted(given.glob(f"*/{LEDGER}"))
    hint = f"; did you mean {' or '.join(str(one.parent) for one in inner)}?" if inner else ""
    raise DataError(f"{given}: there is no {LEDGER} in it{hint}")


def number(text: str) -> float:
    """Read a finite number, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number, not '{text}'")
    return value


def share(text: str) -> float:
    """Read a number in [0, 1], for argparse."""
    value = number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, not '{text}'")
    return value
