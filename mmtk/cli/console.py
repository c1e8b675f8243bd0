"""Where the commands print."""

from __future__ import annotations

import rich
from rich.console import Console

PLAIN_WIDTH = 200


def output_console() -> Console:
    """Return rich's global console, so that a stage's progress bars and the run's lines share one display.

    Away from a terminal nothing is coloured and a wide line is not cut at 80 characters.
    """
    console = rich.get_console()
    if not console.is_terminal:
        rich.reconfigure(width=PLAIN_WIDTH, highlight=False)
    return console
