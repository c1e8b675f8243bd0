"""What becomes of an image's texts, by the bars and rules of all steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mmtk.api import Candidate, Rule

KEPT, DROPPED, FAILED = "kept", "dropped", "failed"


class StepRules(NamedTuple):
    """The rules of one step of the pass."""

    step: str
    rules: tuple[Rule, ...]


class Decision(NamedTuple):
    """What becomes of a text: see ``LedgerRow``."""

    decision: str = KEPT
    step: str = ""
    reason: str = ""
    final: bool = False


def decide(candidates: Sequence[Candidate], steps: Sequence[StepRules]) -> list[Decision]:
    """Decide the texts of one image.

    A barred text never competes. The others pass the rules in the order of the steps; a rule sees the texts
    that the rules before it have left.
    """
    decisions = [
        Decision(DROPPED, one.barred_by, one.barred, True) if one.barred else Decision() for one in candidates
    ]
    alive = [place for place, one in enumerate(candidates) if not one.barred]
    for step, rules in steps:
        for rule in rules:
            drops = rule.drop([candidates[place] for place in alive])
            for number, reason in drops.items():
                decisions[alive[number]] = Decision(DROPPED, step, reason)
            alive = [place for number, place in enumerate(alive) if number not in drops]
    return decisions
