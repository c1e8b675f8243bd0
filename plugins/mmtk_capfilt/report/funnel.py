"""The section ``capfilt_funnel``: images and texts from the web to the bootstrapped dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmtk.api import DataError
from mmtk.report.jsonl import read_object
from mmtk.report.templating import render
from mmtk.report.wording import count, counted, share

COUNTS = (
    "images",
    "captioned",
    "candidates",
    "kept_web",
    "kept_synthetic",
    "dropped_web",
    "dropped_synthetic",
    "quarantined",
)


@dataclass(frozen=True)
class Piece:
    """A part of a bar. ``style`` is ``plain``, ``web``, ``synthetic``, ``human`` or ``… dropped``."""

    style: str
    number: int
    label: str


@dataclass(frozen=True)
class Step:
    """A bar of the funnel; ``note`` says what its pieces don't."""

    label: str
    number: int
    pieces: list[Piece]
    note: str = ""

    @property
    def shown(self) -> list[Piece]:
        return [piece for piece in self.pieces if piece.number]


class FunnelSection:
    """Bars of images, texts and pairs on one scale."""

    def __init__(self, *, funnel: Path, title: str) -> None:
        self.title = title
        self._counts = read_funnel(funnel)

    def headline(self) -> str:
        """Tell the whole bootstrapping in a sentence or two."""
        counts = self._counts
        web = counts["kept_web"] + counts["dropped_web"]
        synthetic = counts["kept_synthetic"] + counts["dropped_synthetic"]
        if not web + synthetic:
            return ""
        sentence = (
            f"Of {counted(web, 'web text')}, the filter kept {count(counts['kept_web'])} and dropped "
            f"{count(counts['dropped_web'])} ({share(counts['dropped_web'], web)})"
        )
        if synthetic:
            sentence += (
                f"; of {counted(synthetic, 'caption')} the model wrote itself, it kept "
                f"{count(counts['kept_synthetic'])} and dropped {count(counts['dropped_synthetic'])} "
                f"({share(counts['dropped_synthetic'], synthetic)})"
            )
        return f"{sentence}. The bootstrapped set has {counted(bootstrapped_pairs(counts), 'pair')}."

    def css(self) -> str:
        return render("mmtk_capfilt.report", "funnel.css")

    def html(self) -> str:
        steps = funnel_steps(self._counts)
        counts = self._counts
        return render(
            "mmtk_capfilt.report",
            "funnel.html",
            steps=steps if counts["images"] or counts["candidates"] else [],
            scale=max(1, *(sum(piece.number for piece in step.pieces) for step in steps)),
            has_human=counts.get("human", 0) > 0,
            has_captions=counts["captioned"] > 0,
        )


def read_funnel(path: Path) -> dict[str, int]:
    """Return the counts in a funnel file. Raises DataError when one is missing or no whole number."""
    found = read_object(path)
    wrong = [name for name in COUNTS if not isinstance(found.get(name), int) or found[name] < 0]
    if wrong:
        raise DataError(f"{path}: not the funnel of a merge stage: no count named {', '.join(wrong)}")
    return {name: value for name, value in found.items() if isinstance(value, int)}


def bootstrapped_pairs(counts: dict[str, int]) -> int:
    """Return how many pairs the merged dataset has, those written by people included."""
    chosen = counts["kept_web"] + counts["kept_synthetic"] + counts.get("human", 0)
    return counts.get("written", chosen)


def funnel_steps(counts: dict[str, int]) -> list[Step]:
    """Return the bars from the images that came in to the pairs that came out."""
    steps = [
        Step(
            "Images in",
            counts["images"],
            [
                Piece("plain", counts["images"] - counts["quarantined"], "readable"),
                Piece("plain dropped", counts["quarantined"], "set aside"),
            ],
        ),
        Step(
            "Images captioned",
            counts["captioned"],
            [Piece("synthetic", counts["captioned"], "captions")],
        ),
        Step(
            "Candidate texts",
            counts["candidates"],
            [
                Piece("web", counts["kept_web"] + counts["dropped_web"], "from the web"),
                Piece("synthetic", counts["kept_synthetic"] + counts["dropped_synthetic"], "synthetic"),
            ],
        ),
    ]
    for source, label in (("web", "Web texts filtered"), ("synthetic", "Synthetic texts filtered")):
        kept, dropped = counts[f"kept_{source}"], counts[f"dropped_{source}"]
        pieces = [Piece(source, kept, "kept"), Piece(f"{source} dropped", dropped, "dropped")]
        steps.append(Step(label, kept + dropped, pieces))
    human, unusable = counts.get("human", 0), counts.get("unusable", 0)
    steps.append(
        Step(
            "Bootstrapped pairs",
            bootstrapped_pairs(counts),
            [
                Piece("web", counts["kept_web"], "web"),
                Piece("synthetic", counts["kept_synthetic"], "synthetic"),
                Piece("human", human, "written by people"),
            ],
            f"{count(unusable)} of these could not be used" if unusable else "",
        )
    )
    return steps
