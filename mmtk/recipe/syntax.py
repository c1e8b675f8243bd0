"""Whether every ``${…}`` can be read, before any is resolved."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from omegaconf.errors import OmegaConfBaseException
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
from omegaconf.grammar_parser import parse

from mmtk.printable import brief
from mmtk.recipe.marks import BROKEN, INTERPOLATION, Marked, map_values
from mmtk.recipe.problems import Problem
from mmtk.recipe.variables import HOW_TO_WRITE

MISSING = "???"
CALL: Any = OmegaConfGrammarParser.InterpolationResolverContext
BRACES = re.compile(r"(\\*)(\$\{|\})")


def check_syntax(root: Marked, problems: list[Problem]) -> Marked:
    """Break every text whose ``${`` OmegaConf can't read or may not compute; it is given the others."""
    return map_values(root, lambda node, keys: _checked(node, ".".join(keys), problems))


def _checked(node: Marked, path: str, problems: list[Problem]) -> Marked:
    value = node.value
    if value == MISSING:
        problems.append(Problem(node.named_at, path, f"has no value yet; set it, e.g. with {path}=VALUE"))
        return replace(node, value=BROKEN)
    if isinstance(value, str) and INTERPOLATION in value and (fault := _fault_of(value)):
        problems.append(Problem(node.place, path, fault))
        return replace(node, value=BROKEN)
    return node


def _fault_of(text: str) -> str | None:
    """Say why a text with ``${`` can't be resolved: its syntax, or a function that it calls."""
    try:
        waiting = [parse(text)]
    except OmegaConfBaseException:
        return _unreadable(text)
    except RecursionError:
        return f"{brief(text)}: nested too deeply"
    while waiting:
        tree = waiting.pop()
        if isinstance(tree, CALL):
            name = tree.resolverName().getText()
            if name == "env":
                return f"{tree.getText()}: write {HOW_TO_WRITE}"
            hint = f"; environment variables are written {HOW_TO_WRITE}" if name == "oc.env" else ""
            return f"{tree.getText()}: a recipe calls no functions, and '{name}' is one{hint}"
        waiting.extend(getattr(tree, "children", None) or [])
    return None


def _unreadable(text: str) -> str:
    """Say what is wrong with a text that OmegaConf's grammar doesn't take."""
    how = f"{brief(text)}: write the path of a value, e.g. ${{definitions.NAME}}, or \\${{ for a plain ${{"
    return f"{brief(text)}: a '}}' is missing behind '${{'" if _is_open(text) else how


def _is_open(text: str) -> bool:
    depth = 0
    for slashes, mark in BRACES.findall(text):
        if mark == "}":
            depth = max(depth - 1, 0)
        elif len(slashes) % 2 == 0:
            depth += 1
    return depth > 0
