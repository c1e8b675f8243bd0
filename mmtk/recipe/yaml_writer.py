"""Plain data to YAML that ``yaml_reader`` reads as the same data."""

from __future__ import annotations

import re
from typing import Any

import yaml

from mmtk.recipe.marks import literal
from mmtk.recipe.yaml_reader import IMPLICIT_RESOLVERS

WIDTH = 110
UNUSUAL_ENDS = re.compile("[\x85\u2028\u2029]")  # of lines


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = IMPLICIT_RESOLVERS  # so that it puts in quotes what would be read as a number

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True

    def represent_text(self, text: str) -> Any:
        quoted = UNUSUAL_ENDS.search(text)  # without double quotes they would be read as blanks
        return self.represent_scalar("tag:yaml.org,2002:str", text, style='"' if quoted else None)


_Dumper.add_representer(str, _Dumper.represent_text)


def write_yaml(data: Any) -> str:
    """Return the text of a document. Texts with ``${`` are escaped, so that a recipe's stay what they are."""
    return yaml.dump(_literal(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)


def _literal(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _literal(item) for key, item in data.items()}
    if isinstance(data, list):
        return [_literal(item) for item in data]
    return literal(data) if isinstance(data, str) else data
