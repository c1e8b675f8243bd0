"""What steps may do, and the one message about a step that does something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmtk_capfilt.named_steps import NamedStep, build_steps, step_names

from mmtk.api import AtLeast, Best, Candidate, ImageCandidates, StageError
from tests.capfilt.passes import Adds, Cleaned, Hashed, Named, Writes, clean, config
from tests.small_learner import ListReader, sample

READER = ListReader([sample(n, f"a cat {n}", f"a dog {n}") for n in range(3)])
Images = Sequence[ImageCandidates]


@dataclass
class Does:
    """A step that does to a batch whatever a test wants."""

    do: Callable[[Images], Any]
    gives: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    rules: tuple[Any, ...] = ()

    def __call__(self, images: Images) -> Any:
        return self.do(images)


def run(folder: Path, *steps: Any) -> Cleaned:
    return clean(folder, config(READER, *steps))


def message(folder: Path, *steps: Any) -> str:
    with pytest.raises(StageError) as error:
        run(folder, *steps)
    assert not (folder / "ledger.parquet").exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def texts(change: Callable[[tuple[Candidate, ...]], Sequence[Candidate]]) -> Does:
    return Does(lambda images: [replace(one, candidates=tuple(change(one.candidates))) for one in images])


def scores(**values: Any) -> Callable[[Images], Any]:
    return lambda images: [
        one.scored(**{name: [value] * len(one.open) for name, value in values.items()}) for one in images
    ]


@pytest.mark.parametrize(
    "do",
    [
        lambda images: images[::-1],
        lambda images: images[:-1],
        lambda images: [*images, images[0]],
        lambda images: [images[0]] * len(images),
        lambda _images: None,
        lambda images: [one.key for one in images],
        lambda images: [replace(one, sample=replace(one.sample, image=b"")) for one in images],
    ],
)
def test_images_come_back_as_they_were_given(tmp_path: Path, do: Callable[[Images], Any]) -> None:
    expected = "step does must return the images that it is given, in their order"
    assert message(tmp_path, Does(do)).startswith(expected)


def test_what_is_no_images_at_all_is_named(tmp_path: Path) -> None:
    assert message(tmp_path, Does(lambda _images: None)).endswith("in their order, and returns None")
    assert message(tmp_path, Does(lambda _images: 3)).endswith("in their order, and returns an int")


def test_a_step_may_yield_its_images(tmp_path: Path) -> None:
    assert len(run(tmp_path, Does(lambda images: (one for one in images))).rows) == 6


def test_a_bug_of_a_step_is_noted_with_its_plugin(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as error:
        run(tmp_path, Does(lambda images: (1 / 0 for _one in images)))
    assert error.value.__notes__ == [
        "This happened when capfilt_step 'does' (from fakes/fakes 1.0) worked on images."
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda own: own[1:],
        lambda own: own[::-1],
        lambda _own: (),
        lambda own: [Candidate("new", "synthetic"), *own],
        lambda own: [replace(one, text=one.text + "!") for one in own],
        lambda own: [replace(one, source="human") for one in own],
        lambda own: [replace(one, cleaned="") for one in own],
    ],
)
def test_texts_stay(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    assert message(tmp_path, texts(change)).startswith(
        "step does must leave the texts of 'k0' as they are and where they are: it may score and bar them"
    )


def test_a_text_that_is_barred_stays_so(tmp_path: Path) -> None:
    bar = Does(lambda images: [one.barring(lambda _text: "short") for one in images])
    free = texts(lambda own: [replace(one, barred="") for one in own])
    assert "step does-2 must leave the texts of 'k0' as they are" in message(tmp_path, bar, free)
    assert all(row["reason"] == "short" for row in run(tmp_path / "ok", bar, bar).rows)


@pytest.mark.parametrize("source", ["human", "translated", ""])
def test_new_texts_are_web_or_synthetic(tmp_path: Path, source: str) -> None:
    add = Does(lambda images: [one.adding(["new"], source=source) for one in images])
    assert message(tmp_path, add) == (
        f"step does adds a text to 'k0' with the source {source!r}; a step's texts are 'web' or 'synthetic'"
    )


@pytest.mark.parametrize(
    "do",
    [
        lambda one: one.adding(["a \ud83d cat"]),
        lambda one: one.adding(["a cat"], written_by="a \ud83d cat"),
        lambda one: one.barring(lambda _text: "a \ud83d cat"),
        lambda one: one.leaving_out("a \ud83d cat"),
    ],
)
def test_half_a_surrogate_pair_is_refused(
    tmp_path: Path, do: Callable[[ImageCandidates], ImageCandidates]
) -> None:
    assert message(tmp_path, Does(lambda images: [do(one) for one in images])) == (
        r"step does says of 'k0' what is not Unicode: half a surrogate pair in 'a \ud83d cat'"
    )


def test_a_score_that_is_not_declared_is_refused(tmp_path: Path) -> None:
    assert message(tmp_path, Does(scores(taste=0.5, clarity=1), gives=("clarity",))) == (
        "step does changes the score 'taste' of a text of 'k0', which isn't among those that it says it "
        "gives: clarity"
    )


def test_the_scores_of_another_step_stay(tmp_path: Path) -> None:
    assert "changes the score 'luck'" in message(tmp_path, Hashed(), Does(scores(luck=0.5)))
    lost = texts(lambda own: [replace(one, scores={}) for one in own])
    assert message(tmp_path, Hashed(), lost).endswith("that it says it gives: none")


def test_a_declared_score_must_be_given_to_every_open_text(tmp_path: Path) -> None:
    assert message(tmp_path, Does(lambda images: images, gives=("taste",))) == (
        "step does gives no taste for a text of 'k0'"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e39])
def test_a_score_must_be_finite_in_the_ledger_too(tmp_path: Path, value: float) -> None:
    assert message(tmp_path, Does(scores(taste=value), gives=("taste",))).startswith(
        "step does gives a score 'taste' that is not finite for a text of 'k0'"
    )


@pytest.mark.parametrize("value", [np.float32(0.5), np.array(0.5), torch.tensor(0.5)])
def test_a_score_may_be_a_number_of_a_library(tmp_path: Path, value: Any) -> None:
    done = run(tmp_path, Does(scores(taste=value), gives=("taste",)))
    assert {row["taste"] for row in done.rows} == {0.5}


@pytest.mark.parametrize("value", ["abc", "0.5", None, [1.0], 10**400, np.array([0.5])])
def test_a_score_must_be_a_number(tmp_path: Path, value: Any) -> None:
    assert message(tmp_path, Does(scores(taste=value), gives=("taste",))).startswith("step does gives ")
    assert message(tmp_path, Does(scores(taste="abc"), gives=("taste",))) == (
        "step does gives 'abc' as the score 'taste' of a text of 'k0'; expected a number"
    )


def test_an_image_that_a_step_leaves_out_needs_no_scores(tmp_path: Path) -> None:
    out = Does(lambda images: [one.leaving_out("a copy") for one in images], gives=("taste",))
    done = run(tmp_path, out, Hashed())
    assert {(row["decision"], row["step"], row["reason"], row["final"]) for row in done.rows} == {
        ("dropped", "does", "a copy", True)
    }
    assert all(row["taste"] is None and row["luck"] is None for row in done.rows)


def test_thresholds_decide_by_what_the_ledger_holds(tmp_path: Path) -> None:
    """0.7 as float32 is a little less than 0.7, so a threshold of 0.7 drops it, here and for ever after."""
    done = run(tmp_path, Does(scores(taste=0.7), gives=("taste",), rules=(AtLeast("taste", 0.7),)))
    assert {row["decision"] for row in done.rows} == {"dropped"}
    assert all(row["taste"] < 0.7 for row in done.rows)


@pytest.mark.parametrize("wants", [{"needs": ("taste",)}, {"rules": (Best("taste"),)}])
def test_a_score_that_nobody_gives_is_told_before_anything_is_read(
    tmp_path: Path, wants: dict[str, Any]
) -> None:
    reader = ListReader(READER.samples)
    step = Does(lambda images: images, **wants)
    with pytest.raises(StageError) as error:
        clean(tmp_path, config(reader, Hashed(), step, Hashed("taste")))
    assert str(error.value) == (
        "step 2, does, needs the score 'taste', which no step before it gives; they give luck"
    )
    assert reader.reads == []


def test_a_score_can_not_have_the_name_of_a_column(tmp_path: Path) -> None:
    assert message(tmp_path, Hashed("reason")) == (
        "step 1, hashed, can't give a score 'reason': a column of the ledger has that name"
    )


def test_a_score_is_not_given_anew_behind_a_rule_about_it(tmp_path: Path) -> None:
    judging = Hashed(rules=(AtLeast("luck", 0.5),))
    assert message(tmp_path, judging, Writes(), Hashed()).startswith(
        "step 3, hashed-2, gives the score 'luck' anew, by which hashed drops texts"
    )
    run(tmp_path / "ok", Hashed(), judging)


def test_two_steps_can_not_add_datasets_of_one_name(tmp_path: Path) -> None:
    some = ListReader([sample(90)])
    assert message(tmp_path, Adds({"coco": some}), Adds({"coco": some})) == (
        "adds and adds-2 both have a dataset 'coco'; one must do"
    )
    assert "weight of 'web'" in message(tmp_path, Adds(weights={"web": 2}), Adds(weights={"web": 0.5}))


def test_steps_are_numbered_where_a_component_comes_again() -> None:
    uses = ["caption", "blip/caption", "my-step", "my-step", "caption-2", "caption"]
    assert step_names(uses) == ["caption", "caption-2", "my-step", "my-step-2", "caption-2-2", "caption-3"]


def test_a_step_without_any_attribute_is_one() -> None:
    (named,) = build_steps([Named(lambda images: images, "plain")])
    assert (named.gives, named.needs, named.rules.rules, named.model) == ((), (), (), "")
    assert NamedStep("a", Writes(fingerprint="0123")).model == "a:0123"


def test_a_batch_whose_images_are_all_left_out_reaches_no_further_step(tmp_path: Path) -> None:
    seen: list[int] = []
    out = Does(lambda images: [one.leaving_out("no") for one in images])
    run(tmp_path, out, Does(lambda images: seen.append(len(images)) or images))
    assert seen == []
