from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from mmtk_eval.captioning import Captioning

from mmtk.data.pipeline import EvaluationData
from mmtk.engine.learner import Learner
from mmtk.errors import CheckpointError, StageError
from mmtk.types import Decoding, RawSample
from tests.small_learner import (
    ListReader,
    SmallCaptioning,
    SmallMatching,
    data_config,
    sample,
    small_learner,
    stage_context,
)


class Scripted(SmallCaptioning):
    """Writes given captions, in order."""

    def __init__(self, captions: Sequence[str]) -> None:
        super().__init__()
        self.captions = iter(captions)

    def generate(self, images: Any, *_: Any) -> list[str]:
        return [next(self.captions) for _ in range(len(images))]


def run(samples: list[RawSample], learner: Learner, tmp_path: Path, **keys: Any) -> dict[str, float]:
    metric = Captioning(decoding=Decoding(**keys))
    data = EvaluationData(data_config(ListReader(samples)))
    return metric(learner, data, stage_context(tmp_path))


def test_captions_are_compared_with_the_raw_texts_of_their_image(tmp_path: Path) -> None:
    learner = small_learner(lm=Scripted(["a red cat sleeps", "a dog"]))
    found = run([sample(0, "A red cat sleeps."), sample(1, "the blue bird sings")], learner, tmp_path)
    assert found["exact"] == 0.5
    assert found["images"] == 2
    # The first image scores 10, the second has nothing in common with its reference.
    assert found["cider"] == pytest.approx(5)
    # Of 6 words 4 are right, of 4 bigrams 3, of 2 trigrams 2, of 1 four-gram 1; 6 words against 8.
    assert found["bleu4"] == pytest.approx((4 / 6 * 3 / 4) ** 0.25 * 2.718281828 ** (1 - 8 / 6))


def test_samples_of_one_image_are_captioned_once_and_share_their_references(tmp_path: Path) -> None:
    samples = [
        sample(0, "first text here now", key="a", image_id="one"),
        sample(1, "something else goes here", key="b", image_id="two"),
        sample(0, "second text here now", "third", key="c", image_id="one"),
        sample(0, "fourth", key="d", image_id="one"),
    ]
    learner = small_learner(lm=Scripted(["third", "fourth"]))
    found = run(samples, learner, tmp_path)
    assert len(learner.model.encoded) == 2
    assert found["images"] == 2
    assert found["exact"] == 0.5


def test_images_whose_references_have_no_word_are_counted_apart(tmp_path: Path) -> None:
    learner = small_learner(lm=Scripted(["x", "good caption"]))
    found = run([sample(0, "?"), sample(1, "good caption")], learner, tmp_path)
    assert (found["images"], found["without_reference"], found["exact"]) == (1, 1, 1.0)
    with pytest.raises(StageError, match="no image with a reference"):
        run([sample(0, "?")], small_learner(lm=Scripted(["x"])), tmp_path)


def test_sampled_captions_are_the_same_each_time(tmp_path: Path) -> None:
    samples = [sample(n, f"picture {n}") for n in range(5)]
    first, second = (run(samples, small_learner(), tmp_path, method="nucleus") for _ in range(2))
    assert first == second


def test_a_missing_captioning_head_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="itm"):
        run([sample(0)], small_learner(itm=SmallMatching()), tmp_path)
