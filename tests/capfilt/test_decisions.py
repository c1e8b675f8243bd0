from __future__ import annotations

from typing import Any

from mmtk_capfilt.decisions import Decision, StepRules, decide

from mmtk.candidates import HUMAN, SYNTHETIC, WEB, AtLeast, Best, Candidate

FILTER = StepRules("filter", (AtLeast("s", 0.5),))
BEST = StepRules("keep_best", (Best("s"),))


def text(source: str = WEB, barred: str = "", **scores: float) -> Candidate:
    return Candidate("a", source, scores=scores, barred=barred, barred_by="read" if barred else "")


def fates(texts: list[Candidate], *rules: StepRules) -> list[Any]:
    return [one.step or one.decision for one in decide(texts, rules)]


def test_without_rules_all_but_barred_texts_are_kept() -> None:
    assert decide([text(), text(barred="empty text")], [StepRules("caption", ())]) == [
        Decision("kept", "", "", False),
        Decision("dropped", "read", "empty text", True),
    ]


def test_a_threshold_is_no_final_word() -> None:
    assert decide([text(s=0.4)], [FILTER]) == [Decision("dropped", "filter", "s below 0.5", False)]


def test_the_best_is_chosen_among_what_the_thresholds_before_have_left() -> None:
    texts = [text(s=0.9, t=0.1), text(SYNTHETIC, s=0.6, t=0.9), text(s=0.7, t=0.9)]
    other = StepRules("other", (AtLeast("t", 0.5),))
    assert fates(texts, other, BEST) == ["other", "keep_best", "kept"]
    assert fates(texts, BEST, other) == ["other", "keep_best", "keep_best"]  # none is left


def test_a_barred_text_does_not_compete() -> None:
    assert fates([text(s=0.6), text(barred="unlucky", s=0.9)], FILTER, BEST) == ["kept", "read"]


def test_the_first_rule_that_drops_a_text_is_the_one_that_is_told() -> None:
    again = StepRules("again", (AtLeast("s", 0.9), AtLeast("s", 0.95)))
    assert fates([text(s=0.1), text(s=0.6), text(s=0.92), text(s=0.99)], FILTER, again) == [
        "filter", "again", "again", "kept"
    ]  # fmt: skip
    assert decide([text(s=0.92)], [again])[0].reason == "s below 0.95"


def test_human_texts_are_kept_without_scores() -> None:
    assert fates([text(HUMAN), text(s=0.1)], FILTER, BEST) == ["kept", "filter"]


def test_an_image_without_texts_has_no_decisions() -> None:
    assert decide([], [FILTER, BEST]) == []
