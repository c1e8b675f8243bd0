"""Kinds as users name them on the command line."""

from __future__ import annotations

from mmtk.errors import RecipeError
from mmtk.kinds import KINDS
from mmtk.registry import spelling_hint


def check_kind(kind: str, *others: str) -> None:
    """Raises RecipeError with the nearest spelling for what is no kind, nor among ``others``."""
    names = [*KINDS, *others]
    if kind not in names:
        hint = spelling_hint(kind, names)
        raise RecipeError(f"unknown kind '{kind}'; {hint}")
