"""Thresholds as rules, and other ones in the place of those that a pass was decided by."""

from __future__ import annotations

from collections.abc import Sequence

from mmtk.api import HUMAN, SYNTHETIC, WEB, AtLeast, Rule
from mmtk_capfilt.decisions import StepRules


def source_rules(score: str, threshold: float, synthetic_threshold: float | None) -> tuple[AtLeast, ...]:
    """One threshold for web and synthetic texts, or one for each."""
    if synthetic_threshold is None:
        return (AtLeast(score, threshold),)
    return AtLeast(score, threshold, WEB), AtLeast(score, synthetic_threshold, SYNTHETIC)


def thresholds_of(rules: Sequence[StepRules]) -> list[str]:
    """The scores that the rules have thresholds of."""
    return list(dict.fromkeys(rule.score for step in rules for rule in step.rules if _is_threshold(rule)))


def with_thresholds(
    rules: Sequence[StepRules], score: str, threshold: float, synthetic_threshold: float | None = None
) -> list[StepRules]:
    """The rules with other thresholds of a score, in the place of those that it had.

    A score without a threshold gets one behind all steps, as a step ``resift``.

    Args:
        synthetic_threshold: for synthetic texts; None takes ``threshold`` for them too.
    """
    new = source_rules(score, threshold, synthetic_threshold)
    if score not in thresholds_of(rules):
        return [*rules, StepRules("resift", new)]
    return [StepRules(step, _replaced(own, score, new)) for step, own in rules]


def _replaced(rules: Sequence[Rule], score: str, new: Sequence[Rule]) -> tuple[Rule, ...]:
    """Put ``new`` in the place of the first threshold of a score, and nothing in that of further ones."""
    places = [place for place, rule in enumerate(rules) if _is_threshold(rule) and rule.score == score]
    kept: list[Sequence[Rule]] = [() if place in places else (rule,) for place, rule in enumerate(rules)]
    if places:
        kept[places[0]] = new
    return tuple(rule for group in kept for rule in group)


def _is_threshold(rule: Rule) -> bool:
    return isinstance(rule, AtLeast) and rule.source != HUMAN
