"""Whatever of mmtk the plugin guide names, a plugin can import."""

from __future__ import annotations

import ast
import builtins
import collections.abc
import enum
import pathlib
import re
import typing
from collections.abc import Sequence
from pathlib import Path

from mmtk import api, testing

GUIDE = Path(__file__).parents[1] / "docs" / "plugins.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\|.*\|$", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
CLASS = re.compile(r"(?<![\w.\"'/])[A-Z][a-z]\w*")  # a word of a class, as an attribute of nothing
ELSEWHERE = {name for module in (builtins, typing, collections.abc, enum, pathlib) for name in dir(module)}
OTHERS = {"MyHead", "Tensor"}  # of those who read the guide, and of torch


def table_names(text: str) -> set[str]:
    """The classes in the code of tables."""
    rows = ROW.findall(text)
    return {name for row in rows for code in CODE.findall(row) for name in CLASS.findall(code)}


def block_names(sources: Sequence[str]) -> set[str]:
    """What blocks import from ``mmtk.api``, and the classes that none of them imports or defines."""
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    own = {alias.asname or alias.name for node in imports for alias in node.names}
    own |= {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    from_api = {
        alias.name
        for node in imports
        if isinstance(node, ast.ImportFrom) and node.module == "mmtk.api"
        for alias in node.names
    }
    return from_api | {name for name in used - own if CLASS.fullmatch(name)}


def test_the_guide_names_nothing_that_mmtk_api_lacks() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    in_tables = table_names(text)
    in_blocks = block_names(BLOCK.findall(text))
    assert {"Address", "Blueprint", "Slot", "Workload"} <= in_tables
    assert {"HeadOutput", "Component"} <= in_blocks
    known = {*api.__all__, *testing.__all__, *ELSEWHERE, *OTHERS}
    assert sorted((in_tables | in_blocks) - known) == []


def test_a_name_that_is_missing_is_seen() -> None:
    assert table_names("| a | b |\n| `Annotated[Nowhere, x.Other]`, `FILE` | Prose |") == {
        "Annotated",
        "Nowhere",
    }
    assert block_names(["from mmtk.api import gone\nclass Own: pass", "def f(x: Own) -> Lost: ..."]) == {
        "gone",
        "Lost",
    }
