"""What thresholds would do to texts that are known to be right or wrong, and how true the scores are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.api import DataError
from mmtk_capfilt.ledger import ITM

BINS = 10
STEPS = 100  # thresholds that are tried, besides the lowest
PROBABILITIES = (ITM,)
CHANCE = 0.01  # a gain that chance alone gives more often than this shows nothing


@dataclass(frozen=True)
class Judged:
    """Texts with a score that are known to be right or wrong.

    Attributes:
        score: its name.
        what: the texts in words, for people.
        scores: ``(T,)`` float64.
        right: ``(T,)`` bool.
    """

    score: str
    what: str
    scores: NDArray[np.float64]
    right: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Raises DataError unless there are right texts and wrong ones."""
        if self.right.all() or not self.right.any():
            only = "right" if len(self.right) and self.right.all() else "wrong"
            found = (
                f"all {len(self.right)} {self.what} are {only}"
                if len(self.right)
                else f"there are no {self.what}"
            )
            raise DataError(
                f"nothing to tell apart: {found}; a threshold needs some that are right and some that are not"
            )

    @property
    def is_probability(self) -> bool:
        return self.score in PROBABILITIES


@dataclass(frozen=True)
class ThresholdFigures:
    """What a threshold does.

    Attributes:
        threshold: texts of at least this score are kept.
        kept: share of all texts that is kept.
        precision: share of the kept that is right; None where none is kept.
        recall: share of the right that is kept.
        wrong_dropped: share of the wrong that is dropped.
    """

    threshold: float
    kept: float
    precision: float | None
    recall: float
    wrong_dropped: float

    @property
    def balance(self) -> float:
        """The mean of both shares that come out right; 0.5 for a threshold that is blind."""
        return (self.recall + self.wrong_dropped) / 2


@dataclass(frozen=True)
class Bin:
    """Texts of about one probability.

    Attributes:
        low, high: bounds; the upper one belongs to the next bin, but for the last.
        texts: how many.
        expected: mean of their probabilities.
        observed: share of them that is right.
    """

    low: float
    high: float
    texts: int
    expected: float
    observed: float


@dataclass(frozen=True)
class Proposal:
    """A threshold to take, None where there is none to propose, and why."""

    figures: ThresholdFigures | None
    reason: str


@dataclass(frozen=True)
class Calibration:
    """All that is said of some judged texts; ``bins`` and ``error`` are there for probabilities alone.

    Attributes:
        error: expected calibration error: the mean of ``|expected - observed|`` over all texts.
        roc_auc: chance that a right text scores above a wrong one.
        doubt: why the score may not tell right texts from wrong ones at all; empty where it does.
    """

    judged: Judged
    thresholds: list[ThresholdFigures]
    bins: list[Bin]
    error: float | None
    proposal: Proposal
    roc_auc: float
    doubt: str

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        right = int(self.judged.right.sum())
        figures = self.proposal.figures
        return {
            "score": self.judged.score,
            "texts": len(self.judged.right),
            "right": right,
            "roc_auc": self.roc_auc,
            "doubt": self.doubt,
            "thresholds": [asdict(one) for one in self.thresholds],
            "calibration": [asdict(one) for one in self.bins],
            "expected_calibration_error": self.error,
            "proposal": {**({} if figures is None else asdict(figures)), "reason": self.proposal.reason},
        }


def calibrate(judged: Judged, min_precision: float | None = None) -> Calibration:
    """Try thresholds and propose one: of the best balance, or the lowest of at least some precision."""
    thresholds = [at_threshold(judged, threshold) for threshold in _candidates(judged)]
    bins = bins_of(judged) if judged.is_probability else []
    error = None
    if bins:
        error = sum(one.texts * abs(one.expected - one.observed) for one in bins) / len(judged.right)
    area = roc_auc(judged)
    proposal = propose(thresholds, min_precision)
    return Calibration(judged, thresholds, bins, error, proposal, area, doubt(judged, thresholds, area))


def roc_auc(judged: Judged) -> float:
    """Chance that a right text scores above a wrong one; equal scores count half."""
    wrong = np.sort(judged.scores[~judged.right])
    right = judged.scores[judged.right]
    below, not_above = (np.searchsorted(wrong, right, side).mean() for side in ("left", "right"))
    return float(below + not_above) / 2 / len(wrong)


def doubt(judged: Judged, thresholds: Sequence[ThresholdFigures], area: float) -> str:
    """Say that no threshold gains more over keeping everything than chance gives; empty if one does.

    The greatest gain of all is Smirnov's one-sided statistic for two samples. Of large ones it exceeds ``d``
    by chance with the probability ``exp(-2 d^2 r w / (r + w))``.
    """
    gain = max(2 * one.balance - 1 for one in thresholds)
    right = int(judged.right.sum())
    wrong = len(judged.right) - right
    if math.exp(-2 * gain**2 * right * wrong / (right + wrong)) <= CHANCE:
        return ""
    return (
        f"this score can't be seen to tell right texts from wrong ones: its ROC AUC is {area:.3f}, 0.5 is "
        f"chance, and with {right:,} right and {wrong:,} wrong texts no threshold gains more over keeping "
        "everything than chance gives"
    )


def at_threshold(judged: Judged, threshold: float) -> ThresholdFigures:
    """What one threshold does, by the comparison that the pass makes."""
    kept = judged.scores >= threshold
    both = int((kept & judged.right).sum())
    count = int(kept.sum())
    right = int(judged.right.sum())
    return ThresholdFigures(
        threshold,
        kept=count / len(kept),
        precision=both / count if count else None,
        recall=both / right,
        wrong_dropped=1 - (count - both) / (len(kept) - right),
    )


def bins_of(judged: Judged) -> list[Bin]:
    """Part probabilities into equal bins of [0, 1]; those without a text are left out."""
    places = np.clip((judged.scores * BINS).astype(int), 0, BINS - 1)
    return [
        Bin(
            place / BINS,
            (place + 1) / BINS,
            int(own.sum()),
            float(judged.scores[own].mean()),
            float(judged.right[own].mean()),
        )
        for place in range(BINS)
        if (own := places == place).any()
    ]


def propose(thresholds: Sequence[ThresholdFigures], min_precision: float | None) -> Proposal:
    """Choose among thresholds that rise."""
    if min_precision is None:
        best = max(thresholds, key=lambda one: (one.balance, -one.threshold))
        if not best.wrong_dropped:
            return Proposal(None, "no threshold gains anything over keeping everything")
        return Proposal(
            best,
            f"best balance: keeps {best.recall:.1%} of the right texts, drops {best.wrong_dropped:.1%} of "
            "the wrong ones",
        )
    precise = [one for one in thresholds if one.precision is not None and one.precision >= min_precision]
    if precise:
        chosen = precise[0]
        return Proposal(
            chosen,
            f"lowest threshold with a precision of at least {min_precision:g}; it keeps {chosen.kept:.1%}",
        )
    most = max(thresholds, key=lambda one: one.precision or 0.0)
    return Proposal(
        None,
        f"no threshold has a precision of {min_precision:g}; "
        f"the highest is {most.precision or 0.0:.3f}, at {most.threshold:g}",
    )


def _candidates(judged: Judged) -> list[float]:
    """Thresholds of few digits, from one that keeps all texts on."""
    if judged.is_probability:
        return [step / STEPS for step in range(STEPS + 1)]
    low, high = float(judged.scores.min()), float(judged.scores.max())
    digits = max(2 - int(np.floor(np.log10(max(high - low, 1e-9)))), 0)
    steps = np.linspace(low, high, STEPS + 1)
    return sorted({float(np.floor(step * 10**digits) / 10**digits) for step in steps})
