from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from mmtk.api import Blueprint, Input, Output, Slot, Strategy, node


@dataclass(frozen=True, kw_only=True)
class WriteConfig:
    OUTPUTS: ClassVar[Mapping[str, Output]] = {"text": Output("text", "text.txt")}

    text: str
    """what to write"""
    source: Annotated[Path, Input("text")] | None = None
    """a text to write in front of it"""
    seconds: float = 0.0
    """how long to wait before the text is written, on the first try; a later one goes on from there"""
    failure: Literal["none", "user", "bug", "promise", "unready"] = "none"
    """how to fail after a first line of work"""


@dataclass(frozen=True, kw_only=True)
class PageConfig:
    OUTPUTS: ClassVar[Mapping[str, Output]] = {"report": Output("report", "report.html")}

    source: Annotated[Path, Input("text")]
    """the text to show"""


@dataclass(frozen=True, kw_only=True)
class DrawConfig:
    OUTPUTS: ClassVar[Mapping[str, Output]] = {"draws": Output("draws", "draws.json")}

    label: str = ""
    """makes one stage differ from another"""


@dataclass(frozen=True, kw_only=True)
class TogetherConfig:
    OUTPUTS: ClassVar[Mapping[str, Output]] = {"text": Output("text", "text.txt")}

    SAME_RESULT: ClassVar[tuple[str, ...]] = ("strategy",)

    strategy: Annotated[Blueprint[Strategy], Slot("strategy")] = node("ddp")
    """how training would be spread"""
    failure: Literal["none", "user", "bug"] = "none"
    """how to fail when all ranks have met"""
    on_rank: int = 1
    """which rank fails"""
