"""Times and sizes in words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return e.g. ``3.2 s``, ``4 min 07 s`` or ``1 h 02 min``."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(bytes_: float) -> str:
    """Return e.g. ``12 KiB``, ``3.4 MiB`` or ``1.02 GiB``."""
    for unit in ("KiB", "MiB"):
        bytes_ /= 1024
        if bytes_ < 999.5:
            return f"{bytes_:.3g} {unit}"
    return f"{bytes_ / 1024:.3g} GiB"
