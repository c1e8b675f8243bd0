"""Names from data, in a form that a terminal and a log can take."""

from __future__ import annotations

import re

# Control characters (among them those that start a terminal's escape sequences), line and paragraph marks,
# marks that turn the direction of writing, and halves of surrogate pairs, which no file takes.
UNPRINTABLE = re.compile("[\0-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(name: str) -> str:
    r"""Write what a terminal would act on as Python does: ``\x1b`` with a backslash, an x and two digits."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), name)
