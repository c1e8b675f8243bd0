"""How figures and texts from data are written on the page."""

from __future__ import annotations

import math
import re

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"

# C0 and C1 controls (tab and line breaks aside) are not allowed in HTML; lone surrogates not in UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def readable(text: str, limit: int = 400) -> str:
    """Return ``text`` fit to be shown: unprintable characters replaced, cut after ``limit`` characters."""
    clean = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text[: limit + 1])
    if len(text) <= limit:
        return clean
    return f"{clean[:limit]}… ({count(len(text))} characters)"


def count(number: int) -> str:
    """Return a whole number with separators: ``3,090``."""
    return f"{number:,}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: ``1 image``, ``3,090 images``."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def share(part: float, whole: float) -> str:
    """Return ``part`` of ``whole`` in percent; a dash when there is no whole."""
    return f"{100 * part / whole:.0f}%" if whole else DASH


def decimals(value: float) -> int:
    """Return how many decimals make about three telling digits of ``value``."""
    size = abs(value)
    return 3 if size < 10 else 2 if size < 100 else 1


def figure(value: int | float | None, signed: bool = False, places: int | None = None) -> str:
    """Return a metric's value as text; a dash when it is missing or not finite."""
    if value is None or not math.isfinite(value):
        return DASH
    sign = "+" if signed else ""
    if isinstance(value, int):
        return f"{value:{sign},}".replace("-", MINUS)
    digits = decimals(value) if places is None else places
    return f"{round(value, digits) + 0.0:{sign},.{digits}f}".replace("-", MINUS)


def duration(seconds: float) -> str:
    """Return a time span in its two largest units: ``4 min 08 s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{max(seconds, 0):.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


_NAMES = {"cider": "CIDEr", "cider_d": "CIDEr-D", "map": "mAP", "rouge_l": "ROUGE-L"}
_ABBREVIATIONS = {"ap", "auc", "f1", "roc"}
_NUMBERED = (
    (re.compile(r"(?:r|recall)(?:_at_|@)?(\d+)"), "R@"),
    (re.compile(r"bleu[_@]?(\d)"), "BLEU-"),
)


def label_of(name: str, first: bool = True) -> str:
    """Return a metric's name as a person would write it: ``text_to_image`` gives ``Text → image``.

    It begins with a capital when it comes ``first`` in its line.
    """
    lower = name.lower()
    if lower in _NAMES:
        return _NAMES[lower]
    for pattern, prefix in _NUMBERED:
        if match := pattern.fullmatch(lower):
            return prefix + match[1]
    words = name.replace("_to_", " → ").replace("_", " ").split()
    text = " ".join(word.upper() if word.lower() in _ABBREVIATIONS else word for word in words)
    return text[:1].upper() + text[1:] if first else text
