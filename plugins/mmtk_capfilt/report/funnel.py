"""The section ``capfilt_funnel``: images and texts from the web to the bootstrapped dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmtk.api import DataError, count, counted, read_object, render, share
from mmtk_capfilt.decisions import DROPPED, FAILED, KEPT
from mmtk_capfilt.ledger import HUMAN, SOURCES, SYNTHETIC, WEB

FATES = (KEPT, DROPPED, FAILED)
COUNTS = (
    *("images", "failed_images", "captioned", "candidates", "written"),
    *(f"{fate}_{source}" for source in SOURCES for fate in FATES),
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
        web, synthetic = candidates_of(counts, WEB), candidates_of(counts, SYNTHETIC)
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
        return f"{sentence}. The bootstrapped set has {counted(counts['written'], 'pair')}."

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
            has_human=candidates_of(counts, HUMAN) > 0,
            has_captions=counts["captioned"] > 0,
        )


def read_funnel(path: Path) -> dict[str, int]:
    """Return the counts in a funnel file. Raises DataError when one is missing or no whole number."""
    found = read_object(path)
    wrong = [name for name in COUNTS if not isinstance(found.get(name), int) or found[name] < 0]
    if wrong:
        raise DataError(f"{path}: not the funnel of a pass: no count named {', '.join(wrong)}")
    return {name: value for name, value in found.items() if isinstance(value, int)}


def candidates_of(counts: dict[str, int], source: str) -> int:
    """Return how many texts of a source there were."""
    return sum(counts[f"{fate}_{source}"] for fate in FATES)


def funnel_steps(counts: dict[str, int]) -> list[Step]:
    """Return the bars from the images that came in to the pairs that came out."""
    steps = [
        Step(
            "Images in",
            counts["images"],
            [
                Piece("plain", counts["images"] - counts["failed_images"], "readable"),
                Piece("plain dropped", counts["failed_images"], "set aside"),
            ],
        ),
        Step(
            "Images captioned",
            counts["captioned"],
            [Piece("synthetic", counts["captioned"], "with captions")],
        ),
        Step(
            "Candidate texts",
            counts["candidates"],
            [
                Piece(WEB, candidates_of(counts, WEB), "from the web"),
                Piece(SYNTHETIC, candidates_of(counts, SYNTHETIC), "synthetic"),
                Piece(HUMAN, candidates_of(counts, HUMAN), "written by people"),
            ],
        ),
    ]
    for source, label in ((WEB, "Web texts filtered"), (SYNTHETIC, "Synthetic texts filtered")):
        pieces = [
            Piece(source, counts[f"{KEPT}_{source}"], "kept"),
            Piece(f"{source} dropped", counts[f"{DROPPED}_{source}"], "dropped"),
            Piece("plain dropped", counts[f"{FAILED}_{source}"], "not writable"),
        ]
        steps.append(Step(label, candidates_of(counts, source), pieces))
    kept = {source: counts[f"{KEPT}_{source}"] for source in SOURCES}
    weighed = counts["written"] != sum(kept.values())
    steps.append(
        Step(
            "Bootstrapped pairs",
            counts["written"],
            [
                Piece(WEB, kept[WEB], "web"),
                Piece(SYNTHETIC, kept[SYNTHETIC], "synthetic"),
                Piece(HUMAN, kept[HUMAN], "written by people"),
            ],
            f"by their weights written as {counted(counts['written'], 'pair')}" if weighed else "",
        )
    )
    return steps
