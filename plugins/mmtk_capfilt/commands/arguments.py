"""What the commands share: the ledger they are given, and numbers in their arguments."""

from __future__ import annotations

import argparse
import math
from pathlib import Path


def ledger_path(given: Path) -> Path:
    """The ledger itself, or that of a pass's folder."""
    return given / "ledger.parquet" if given.is_dir() else given


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
