"""The sentences that configs say about their fields."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
import types
from functools import cache
from itertools import pairwise

ATTRIBUTE = re.compile(r"^(\w+): (.*(?:\n {4,}.*)*)", re.MULTILINE)


def field_docs(config: type) -> dict[str, str]:
    """The sentence behind each field: the text below it, or its entry under ``Attributes:``."""
    docs: dict[str, str] = {}
    for one in reversed(config.__mro__):
        if dataclasses.is_dataclass(one):
            docs |= _texts_under_fields(one) | _attributes(one)
    return {name: sentence(text[:1].upper() + text[1:]) for name, text in docs.items()}


def sentence(text: str) -> str:
    """One line that ends with a full stop, code in single backticks."""
    line = " ".join(text.split()).replace("``", "`").rstrip(".")
    return f"{line}." if line else ""


def _texts_under_fields(config: type) -> dict[str, str]:
    try:
        found = _classes(inspect.getmodule(config)).get(config.__name__)
    except (OSError, TypeError):  # a class without source, made while a program runs
        return {}
    return {
        field.target.id: text.value.value
        for field, text in pairwise(found.body if found else [])
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


@cache
def _classes(module: types.ModuleType) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(module))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _attributes(config: type) -> dict[str, str]:
    if "__doc__" not in vars(config) or "Attributes:\n" not in (config.__doc__ or ""):
        return {}
    listed = (inspect.getdoc(config) or "").partition("Attributes:\n")[2]
    return dict(ATTRIBUTE.findall(textwrap.dedent(listed)))
