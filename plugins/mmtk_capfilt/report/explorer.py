"""The section ``capfilt_explorer``: every picture with all its texts, to judge a bootstrap by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from mmtk.api import Blueprint, Reader, render
from mmtk_capfilt.ledger import IMAGE, read_ledger
from mmtk_capfilt.report.explorer_data import choose_images, images_data, rows_of, scores_data, texts_data
from mmtk_capfilt.report.explorer_pages import PER_PAGE, Extras, picture_pages, read_extras, shown
from mmtk_capfilt.report.explorer_truth import Label, agreement, read_labels
from mmtk_capfilt.report.pictures import each_picture

MOST_ON_PAGE = 2000
# In this order they make one script.
SCRIPTS = (
    "elements", "view", "store", "pictures", "charts", "cards", "sights", "dialog", "controls", "explorer"
)  # fmt: skip


class ExplorerSection:
    """Filters, search, histograms and a dialog, in the browser; up to 2,000 pictures in the page itself."""

    def __init__(
        self,
        *,
        ledger: Path,
        images: Sequence[Blueprint[Reader]],
        truth: Path | None,
        extras: Path | None,
        limit: int,
        title: str,
    ) -> None:
        self.title = title
        self._ledger = read_ledger(ledger)
        self._readers = [blueprint.build() for blueprint in images]
        self._labels: dict[str, Label] = read_labels(truth, self._ledger) if truth else {}
        self._extras: Extras = read_extras(extras) if extras else {}
        self._keys = choose_images(self._ledger, limit)
        self._rows = rows_of(self._ledger, self._keys)

    def css(self) -> str:
        return render("mmtk_capfilt.report", "explorer/explorer.css")

    def html(self) -> str:
        return render(
            "mmtk_capfilt.report",
            "explorer/explorer.html",
            shown=len(self._keys),
            total=len(pc.unique(self._ledger["key"])),
            texts=len(self._rows),
            kinds=agreement(self._ledger, self._labels) if self._labels else [],
        )

    def script(self) -> str:
        return explorer_script()

    def data(self) -> dict[str, Any]:
        return {
            "images": images_data(self._rows, self._keys, self._labels),
            "texts": texts_data(self._rows, self._labels),
            "scores": scores_data(self._rows),
            "pictures": None if self._beside else self._pictures(),
            "per_page": PER_PAGE,
        }

    def files(self) -> Iterator[tuple[str, bytes]]:
        if self._beside:
            yield from picture_pages(self._keys, each_picture(self._readers, self._ids()), self._extras)

    @property
    def _beside(self) -> bool:
        return len(self._keys) > MOST_ON_PAGE

    def _pictures(self) -> list[object]:
        found = dict(each_picture(self._readers, self._ids()))
        return [shown(found.get(key), self._extras.get(key, ())) for key in self._keys]

    def _ids(self) -> dict[str, str]:
        """Image ids by key of the images that could be read."""
        read = self._rows.filter(pc.not_equal(self._rows["source"], IMAGE))
        return dict(zip(read["key"].to_pylist(), read["image_id"].to_pylist(), strict=True))


@cache
def explorer_script() -> str:
    """The script of all explorers on a page."""
    folder = files("mmtk_capfilt.report") / "templates" / "explorer"
    parts = [(folder / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"
