"""The version of ``mmtk.api``, and the range of it that a plugin says it needs."""

from __future__ import annotations

import ast
import importlib.util
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

VERSION = (1, 0)
"""The first number rises when what worked may work no longer, the second with every addition."""

RANGE = "MMTK_API"
"""What a plugin's module may say: ``MMTK_API = ">=1.0,<2"``. Without it any version is taken."""


def api_fault(wanted: Any) -> str | None:
    """Say why a plugin that needs the range ``wanted`` can't be used with this version, if it can't."""
    if wanted is None:
        return None
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        fits = SpecifierSet(wanted).contains(_written())
    except (InvalidSpecifier, TypeError, AttributeError):
        return f'its {RANGE} {wanted!r} is no range of versions such as ">=1.0,<2"'
    return None if fits else f"needs mmtk.api {wanted}, and this mmtk has {_written()}"


def stated_range(point: EntryPoint) -> Any:
    """Read the range from the source of a plugin's module that can't be imported; None where it has none.

    What can't be imported may well fail for a name that another version of ``mmtk.api`` has.
    """
    try:
        spec = importlib.util.find_spec(point.module)
        tree = ast.parse(Path(str(spec and spec.origin)).read_text(encoding="utf-8"))
    except Exception:  # parents that can't be imported, no file, no Python: the import's own error says it
        return None
    values = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and RANGE in _assigned(node)
    ]
    return values[-1].value if values and isinstance(values[-1], ast.Constant) else None


def _assigned(statement: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return [ast.unparse(target) for target in targets]


def _written() -> str:
    return ".".join(map(str, VERSION))
