from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

from mmtk.candidates import HUMAN, SYNTHETIC, WEB, AtLeast, Best, Candidate, ImageCandidates
from mmtk.types import RawSample


def image(*candidates: Candidate) -> ImageCandidates:
    sample = RawSample("k", b"", tuple(one.text for one in candidates), "id")
    return ImageCandidates(sample, 0, Image.new("RGB", (8, 8)), torch.zeros(3, 8, 8), 7, candidates)


def text(name: str, source: str = WEB, **fields: Any) -> Candidate:
    scores = {key: fields.pop(key) for key in list(fields) if key not in Candidate.__dataclass_fields__}
    return Candidate(name, source, scores=scores, **fields)


def test_what_is_barred_is_not_open() -> None:
    first, second = text("a"), text("b", barred="too short")
    assert image(first, second).open == (first,)
    assert image(first).key == "k"


def test_added_texts_come_last_and_say_who_wrote_them() -> None:
    one = image(text("a")).adding(iter(["b", "a"]), written_by="0123")
    assert [(each.text, each.source, each.written_by) for each in one.candidates] == [
        ("a", WEB, ""), ("b", SYNTHETIC, "0123"), ("a", SYNTHETIC, "0123")
    ]  # fmt: skip
    assert image().adding(["c"], source=HUMAN).candidates == (text("c", HUMAN),)


def test_open_texts_alone_are_scored_and_keep_their_other_scores() -> None:
    scored = image(text("a", old=1.0, s=1.0), text("b", barred="x", s=3.0), text("c")).scored(
        s=[0.25, 0.5], t=[4, 5]
    )
    assert [one.scores for one in scored.candidates] == [
        {"old": 1.0, "s": 0.25, "t": 4}, {"s": 3.0}, {"s": 0.5, "t": 5}
    ]  # fmt: skip


def test_no_scores_change_nothing() -> None:
    one = image(text("a"))
    assert one.scored() == one
    assert image(text("a", barred="x")).scored(s=[]).candidates == (text("a", barred="x"),)


@pytest.mark.parametrize("scores", [{"s": []}, {"s": [1.0]}, {"t": [1, 2], "s": [1.0, 2.0, 3.0]}])
def test_too_few_or_too_many_scores_are_refused(scores: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match=rf"^{len(scores['s'])} scores 's' for 2 open texts$"):
        image(text("a"), text("b")).scored(**scores)


def test_a_text_is_barred_for_the_first_reason() -> None:
    once = image(text("a"), text("bb"), text("c")).barring(lambda one: "long" if len(one.text) > 1 else None)
    twice = once.barring(lambda one: "second" if one.text != "c" else "")
    assert [one.barred for one in twice.candidates] == ["second", "long", ""]


def test_leaving_out_keeps_the_texts() -> None:
    one = image(text("a")).leaving_out("a copy of k0")
    assert (one.left_out, one.candidates) == ("a copy of k0", (text("a"),))


def test_at_least_keeps_what_is_equal() -> None:
    alive = [text("a", s=0.5), text("b", s=0.4999), text("c"), text("d", SYNTHETIC, s=-1)]
    assert AtLeast("s", 0.5).drop(alive) == {1: "s below 0.5", 2: "no s", 3: "s below 0.5"}


def test_at_least_judges_human_texts_only_by_name() -> None:
    alive = [text("a", HUMAN, s=0.1), text("b", WEB, s=0.1), text("c", SYNTHETIC, s=0.1)]
    assert list(AtLeast("s", 0.5).drop(alive)) == [1, 2]
    assert list(AtLeast("s", 0.5, SYNTHETIC).drop(alive)) == [2]
    assert list(AtLeast("s", 0.5, HUMAN).drop(alive)) == [0]


def test_best_keeps_the_first_of_equals_and_drops_the_unscored_first() -> None:
    alive = [text("a"), text("b", s=0.5), text("c", SYNTHETIC, s=0.5), text("d", s=0.4)]
    assert Best("s").drop(alive) == dict.fromkeys([2, 3, 0], "not among the best 1 by s")
    assert Best("s", 2).drop(alive) == dict.fromkeys([3, 0], "not among the best 2 by s")
    assert Best("s", 9).drop(alive) == {}
    assert Best("s").drop([]) == {}


def test_human_texts_do_not_compete() -> None:
    alive = [text("a", HUMAN, s=9.0), text("b", s=0.5), text("c", s=0.6)]
    assert list(Best("s").drop(alive)) == [1]
