"""What the emoji data stage takes. This module imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from mmtk.api import Output, spelling_hint

SPLITS = ("human_train", "web_train", "val", "test", "test_style", "test_novel")
CATEGORIES = (
    "activities",
    "animals-nature",
    "flags",
    "food-drink",
    "objects",
    "people-body",
    "smileys-emotion",
    "symbols",
    "travel-places",
)


@dataclass(frozen=True, kw_only=True)
class EmojiDataConfig:
    """Write the shipped emoji set as WebDataset shards, one folder per split."""

    OUTPUTS: ClassVar[Mapping[str, Output]] = {
        **{split: Output("dataset", split) for split in SPLITS},
        "truth": Output("truth", "truth.parquet"),
    }

    categories: tuple[str, ...] | None = None
    """Keep only the concepts of these Unicode categories, e.g. animals-nature; null keeps all nine."""

    def check(self) -> Iterator[tuple[str, str]]:
        if self.categories is None:
            return
        if not self.categories:
            yield "categories", "names no category; null keeps all"
        for number, category in enumerate(self.categories):
            if category in CATEGORIES:
                continue
            hint = spelling_hint(category, CATEGORIES)
            yield f"categories.{number}", f"unknown category '{category}'; {hint}"
