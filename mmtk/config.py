"""How a component says what it takes: frozen dataclasses whose annotations the recipe layer reads.

A component's config is a frozen, keyword-only dataclass in a module that imports no torch. Its fields
become the keys of the component's recipe node. Beside plain types (``int``, ``float``, ``bool``,
``str``, ``Path``, literals, enums, optionals, unions, lists, tuples, string-keyed mappings and nested
config dataclasses) a field may be

* a *slot*: ``Annotated[Blueprint, Slot("image_encoder")]``, filled by a mapping with ``use:``;
* an *input*: ``Annotated[Path, Input("checkpoint")]``, filled by ``{from: STAGE.OUTPUT}`` or a path;
* an input that may lie elsewhere: ``Annotated[Address | Path, Input("dataset")]`` takes ``s3://…`` as well;
* a path that is written: ``Annotated[Path, Target()]``, which needn't be there and is no input;
* a bounded number: ``Annotated[float, Range(0, 1)]``; infinity is refused where neither a bound nor the
  default is ``math.inf``.

A slot's default is written ``node("NAME", key=value, …)``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NewType

Address = NewType("Address", str)  # of a remote file as fsspec spells it, ``PROTOCOL://…``


@dataclass(frozen=True)
class Slot:
    """Marks a field that takes a component of ``kind``: one, a list of them or a mapping of them."""

    kind: str


@dataclass(frozen=True)
class Input:
    """Marks a field that takes a stage's output of the artifact type ``artifact``.

    Artifact types are plain words, e.g. ``checkpoint``, ``dataset``, ``ledger``, ``metrics``, ``tokenizer``.

    Attributes:
        artifact: the type; an output of another one is refused.
        form: what has to lie at a path that the recipe gives itself; None where a file and a folder both do.
    """

    artifact: str
    form: Literal["file", "folder"] | None = None


@dataclass(frozen=True)
class Target:
    """Marks a path that the component writes. What lies there is no input: it changes no fingerprint, and a
    checkpoint takes no copy of it along. A relative path is seen from where the run was started.
    """


@dataclass(frozen=True)
class Range:
    """Bounds of a number, both inclusive unless marked open."""

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        if self.low is not None and (value < self.low or (self.low_open and value == self.low)):
            return False
        return not (self.high is not None and (value > self.high or (self.high_open and value == self.high)))

    def __str__(self) -> str:
        left = "(" if self.low_open or self.low is None else "["
        right = ")" if self.high_open or self.high is None else "]"
        low = "-inf" if self.low is None else f"{self.low:g}"
        high = "inf" if self.high is None else f"{self.high:g}"
        return f"{left}{low}, {high}{right}"


@dataclass(frozen=True)
class NodeDefault:
    """The recipe node that fills a slot when the recipe leaves it out."""

    use: str
    keys: Mapping[str, Any]


def node(use: str, /, **keys: Any) -> Any:
    """Return a dataclass field whose default is the recipe node ``{use: USE, **keys}``."""
    default = NodeDefault(use, MappingProxyType(dict(keys)))
    return dataclasses.field(default_factory=lambda: default)


def nodes(**named: NodeDefault) -> Any:
    """Return a dataclass field whose default is a mapping of recipe nodes."""
    default = MappingProxyType(dict(named))
    return dataclasses.field(default_factory=lambda: default)
