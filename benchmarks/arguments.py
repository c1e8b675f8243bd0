"""What the benchmarks' command lines share."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """Read a number of one or more. Raises ArgumentTypeError, which argparse tells."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, not '{text}'")
    return number
