"""Components of a small plugin, with every sort of field that a config can have. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from mmtk.config import Input, NodeDefault, Range, Slot, node, nodes
from mmtk.kinds import Blueprint, Head, Logger, Loss
from mmtk.recipe import CheckedRecipe, check_recipe, load_recipe
from mmtk.registry import Component, Registration, Registry
from mmtk.stages.context import Output


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    smoothing: Annotated[float, Range(0, 1, high_open=True)] = 0.1
    reduce: Literal["mean", "sum"] = "mean"


@dataclass(frozen=True, kw_only=True)
class OtherLossConfig:
    margin: float = 0.2


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    loss: Annotated[Blueprint[Loss], Slot("loss")] = node("smooth", smoothing=0.2)
    negatives: int = 1
    weight: Annotated[float, Range(0)] = 1.0


@dataclass(frozen=True, kw_only=True)
class Sizes:
    width: Annotated[int, Range(1)] = 64
    heads: int = 4
    shape: tuple[int, int] = (8, 8)

    def check(self) -> Iterator[tuple[str, str]]:
        if self.width % self.heads:
            yield "heads", f"{self.heads} don't divide {self.width}"


@dataclass(frozen=True, kw_only=True)
class MakeConfig:
    OUTPUTS: ClassVar[Mapping[str, Output]] = {
        "blob": Output("blob", "blob.bin"),
        "words": Output("words", "words.txt"),
    }

    size: int = 1
    after: Annotated[Path | None, Input("blob")] = None


@dataclass(frozen=True, kw_only=True)
class WorkConfig:
    OUTPUTS: ClassVar[Mapping[str, Output]] = {"result": Output("result", "result.json")}

    heads: Annotated[Mapping[str, Blueprint[Head]], Slot("head")] = field(default_factory=dict)
    parts: Annotated[Sequence[Blueprint[Loss]], Slot("loss")] = ()
    loss: Annotated[Blueprint[Loss] | None, Slot("loss")] = None
    loggers: Annotated[Mapping[str, Blueprint[Logger]], Slot("logger")] = nodes(
        lines=NodeDefault("lines", {"every": 5})
    )
    blob: Annotated[Path | None, Input("blob")] = None
    blobs: Annotated[Path | tuple[Path, ...], Input("blob")] = ()
    named: Mapping[str, Annotated[Path, Input("words")]] = field(default_factory=dict)
    folder: Path = Path("out")
    sizes: Sizes = Sizes(width=32)
    ratio: Annotated[float, Range(0, 1)] = 0.5
    count: int = 3
    on: bool = False
    text: str = ""
    maybe: int | None = None
    colour: Colour = Colour.RED
    stride: Literal[8, 16] = 8
    either: int | str = 0
    pair: tuple[float, float] = (0.0, 1.0)
    words: list[str] = field(default_factory=list)
    free: Any = None

    def check(self) -> Iterator[tuple[str, str]]:
        if self.count > 100:
            yield "count", f"{self.count} is more than anyone can count"
        for name in self.heads:
            if not name.islower():
                yield f"heads.{name}", "heads are written small"


@dataclass(frozen=True, kw_only=True)
class StrictConfig:
    needed: int
    also: Annotated[Path, Input("blob")]


@dataclass(frozen=True, kw_only=True)
class RaisingConfig:
    value: int = 0

    def __post_init__(self) -> None:
        if self.value < 0:
            raise ValueError("below zero")


@dataclass(frozen=True, kw_only=True)
class LinesConfig:
    every: int = 1


class Lines:
    def __init__(self, every: int, folder: Path) -> None:
        self.every = every
        self.folder = folder


class Loss_:  # noqa: N801 - the protocol has the plain name
    def __init__(self, **keys: Any) -> None:
        self.keys = keys
        if keys.get("smoothing") == 0.99:
            raise ValueError("0.99 is refused when it is built")


class HeadBuilt:
    def __init__(self, loss: Blueprint[Loss], negatives: int, weight: float, model: object) -> None:
        self.loss = loss.build()
        self.keys = (negatives, weight)
        self.model = model


class SignatureHead:
    """A head without a config: its signature says what it takes."""

    def __init__(
        self,
        model: object,
        scale: Annotated[float, Range(0)] = 1.0,
        loss: Annotated[Blueprint[Loss], Slot("loss")] = node("smooth"),
        loose=None,
    ) -> None:
        self.keys = (model, scale, loss, loose)


def no_model_head(scale: int) -> tuple[str, int]:
    return "head", scale


def positional_head(scale: int, /) -> int:
    return scale


class Stage_:  # noqa: N801
    def __init__(self, **keys: Any) -> None:
        self.keys = keys


def takes_less(count: int) -> int:
    return count


HERE = "tests.host.recipe.parts"
COMPONENTS = (
    Component("loss", "smooth", f"{HERE}:Loss_", f"{HERE}:LossConfig"),
    Component("loss", "margin", f"{HERE}:Loss_", f"{HERE}:OtherLossConfig"),
    Component("loss", "raising", f"{HERE}:Loss_", f"{HERE}:RaisingConfig"),
    Component("head", "itm", f"{HERE}:HeadBuilt", f"{HERE}:HeadConfig"),
    Component("head", "signature", f"{HERE}:SignatureHead"),
    Component("head", "no_model", f"{HERE}:no_model_head"),
    Component("head", "positional", f"{HERE}:positional_head"),
    Component("head", "gone", f"{HERE}:nowhere", f"{HERE}:NowhereConfig"),
    Component("logger", "lines", f"{HERE}:Lines", f"{HERE}:LinesConfig"),
    Component("stage", "make", f"{HERE}:Stage_", f"{HERE}:MakeConfig"),
    Component("stage", "work", f"{HERE}:Stage_", f"{HERE}:WorkConfig"),
    Component("stage", "strict", f"{HERE}:Stage_", f"{HERE}:StrictConfig"),
    Component("stage", "disagreeing", f"{HERE}:takes_less", f"{HERE}:StrictConfig"),
)


def registry(*others: Registration) -> Registry:
    own = (Registration(component, "parts", "mmtk-parts", "1.2") for component in COMPONENTS)
    return Registry([*own, *others])


def checked(folder: Path, text: str, *overrides: str) -> CheckedRecipe:
    """Check a recipe with this text, called ``recipe.yaml``."""
    path = folder / "recipe.yaml"
    path.write_text(text, "utf-8")
    return check_recipe(load_recipe(path, overrides), registry())
