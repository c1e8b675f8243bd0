"""Texts from data, made fit for a terminal: they can't move its cursor, colour it or turn its lines around.

Files keep a text as it is, in JSON or YAML, which escape it themselves.
"""

from __future__ import annotations

import unicodedata

# Control characters, formats such as the bidirectional overrides, halves of surrogate pairs, line separators.
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = {"\u200c", "\u200d"}  # scripts and emoji are spelt with them


def printable(text: object) -> str:
    """Return ``text`` on one line, with what would not be seen spelt out: ``\\x1b``, ``\\n``, ``\\u202e``."""
    shown = str(text)
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(_spelt(one) if _is_hidden(one) else one for one in shown)


def brief(text: object, limit: int = 200) -> str:
    """Return ``text`` likewise, cut after ``limit`` characters of its own, with how many it has."""
    whole = str(text)
    if len(whole) <= limit:
        return printable(whole)
    return f"{printable(whole[:limit])}… ({len(whole):,} characters)"


def printable_lines(text: object) -> str:
    """Return ``text`` likewise, but with its line ends. For whole messages, of which data is a part."""
    return "\n".join(printable(line) for line in str(text).split("\n"))


def _is_hidden(one: str) -> bool:
    return one not in _JOINERS and unicodedata.category(one) in _HIDDEN


def _spelt(one: str) -> str:
    return one.encode("unicode_escape", "backslashreplace").decode("ascii")
