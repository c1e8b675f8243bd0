"""Thresholds as rules, and other ones in the place of those that a pass was decided by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

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
    """The rules with another threshold of a score, in the place of those that it had.

    A score without a threshold gets one behind all steps, as a step ``resift``.

    Args:
        synthetic_threshold: for synthetic texts; None leaves them the one that a step has for them alone, and
            takes ``threshold`` where it has none.
    """
    if score not in thresholds_of(rules):
        return [*rules, StepRules("resift", source_rules(score, threshold, synthetic_threshold))]
    return [StepRules(step, _replaced(own, score, threshold, synthetic_threshold)) for step, own in rules]


def _replaced(
    rules: Sequence[Rule], score: str, threshold: float, synthetic_threshold: float | None
) -> tuple[Rule, ...]:
    """Put the new thresholds in the place of the score's first one; further ones are gone."""
    old = [rule for rule in rules if _is_threshold(rule) and rule.score == score]
    if not old:
        return tuple(rules)
    if synthetic_threshold is None:
        synthetic_threshold = next((rule.threshold for rule in old if rule.source == SYNTHETIC), None)
    new = source_rules(score, threshold, synthetic_threshold)
    if synthetic_threshold is None and all(rule.source == WEB for rule in old):
        new = (AtLeast(score, threshold, WEB),)  # synthetic texts have passed without one
    place = rules.index(old[0])
    return (*rules[:place], *new, *(rule for rule in rules[place:] if rule not in old))


def _is_threshold(rule: Rule) -> TypeGuard[AtLeast]:
    return isinstance(rule, AtLeast) and rule.source != HUMAN
