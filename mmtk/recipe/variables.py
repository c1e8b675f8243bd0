"""``${env:NAME}``: environment variables, of which a recipe reads only those that it lists at its top."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mmtk.recipe.marks import BROKEN, INTERPOLATION, Marked, Place, literal, map_values
from mmtk.recipe.overrides import read_value
from mmtk.recipe.problems import Problem, UnreadableError
from mmtk.registry import nearest

HOW_TO_WRITE = "${env:NAME} or ${env:NAME,DEFAULT}, the default as it is"
VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
CALL = re.compile(rf"(\\*)\$\{{\s*env\s*:\s*({VARIABLE.pattern})\s*(?:,\s*([^{{}}$]*?)\s*)?\}}", re.ASCII)


def fill_variables(root: Marked, problems: list[Problem]) -> Marked:
    """Put values in the place of every ``${env:NAME}`` whose name the recipe's ``environment`` lists.

    A value that is all of a text is read as the command line's are, so that ``3`` is a number. What is not
    allowed, and what is neither set nor has a default, becomes BROKEN.
    """
    return map_values(root, _Filling(_allowed(root), problems).fill)


def _allowed(root: Marked) -> list[str]:
    listed = root.value.get("environment")
    items = listed.value if listed is not None and isinstance(listed.value, list) else []
    return [item.value for item in items if isinstance(item.value, str)]


class _Filling:
    def __init__(self, allowed: list[str], problems: list[Problem]) -> None:
        self.allowed = allowed
        self.problems = problems
        self.used: dict[str, None] = {}  # variables that the text at hand has values of

    def fill(self, node: Marked, keys: tuple[str, ...]) -> Marked:
        value = node.value
        if not isinstance(value, str) or INTERPOLATION not in value:
            return node
        self.used = {}
        try:
            filled = self.text(value, node.place)
        except LookupError as error:
            self.problems.append(Problem(node.place, ".".join(keys), str(error.args[0])))
            return replace(node, value=BROKEN)
        if not self.used:
            return replace(node, value=filled)
        names = ", ".join(f"'{name}'" for name in self.used)
        some = "variables" if len(self.used) > 1 else "variable"
        return replace(node, value=filled, place=node.place.come(f"from the environment {some} {names}"))

    def text(self, text: str, place: Place) -> Any:
        """Return what a text stands for. Raises LookupError, which says why a variable has no value."""
        whole = CALL.fullmatch(text)
        if whole and not whole[1]:
            value = _scalar(self.value(whole[2], whole[3]), place)
            return literal(value) if isinstance(value, str) else value
        return CALL.sub(self.replaced, text)

    def replaced(self, call: re.Match[str]) -> str:
        slashes = len(call[1])
        if slashes % 2:  # \${ is no call
            return call[0]
        return "\\" * (slashes // 2) + literal(self.value(call[2], call[3]))

    def value(self, name: str, default: str | None) -> str:
        if name not in self.allowed:
            near = nearest(name, self.allowed)
            hint = f"did you mean '{near}'? To allow '{name}'" if near else "to allow it"
            listed = ", ".join([*self.allowed, name])
            raise LookupError(
                f"the recipe may not read the environment variable '{name}'; {hint}, write at the "
                f"top of the recipe: environment: [{listed}]"
            )
        found = os.environ.get(name, default)
        if found is None:
            raise LookupError(
                f"the environment variable '{name}' is not set; set it, or write a default: "
                f"${{env:{name},VALUE}}"
            )
        if name in os.environ:
            self.used[name] = None
        return found


def _scalar(text: str, place: Place) -> Any:
    """A number, a word, true, false or null; what would be a list or a mapping is a text."""
    try:
        value = read_value(text, place, []).value
    except UnreadableError:
        return text
    return text if value is BROKEN or isinstance(value, Mapping | list) else value
