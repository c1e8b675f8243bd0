from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmtk.errors import CheckpointError, DataError
from mmtk.inference.pictures import read_pictures
from mmtk.types import Decoding
from tests.host.inference.small_model import pictures, small_model
from tests.small_learner import SmallCaptioning, SmallMatching

NUCLEUS = Decoding(method="nucleus")


def pixels(model: Any, paths: list[str]) -> torch.Tensor:
    read = read_pictures(paths, model.preparation.image)
    return torch.stack([one.pixels for one in read])


def test_captions_are_those_of_the_head_with_the_prompt_of_training(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "photos", 7)
    model = small_model(tmp_path / "model")
    head = model.learner.heads["lm"]
    assert model.caption(paths) == head.generate(
        model.learner.model.encode_images(pixels(model, paths)), Decoding()
    )
    assert head.decodings[0].prompt == "a picture of"
    model.caption(paths, Decoding(prompt=""))
    assert head.decodings[-1].prompt == ""


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_what_is_drawn_depends_on_the_seed_and_not_on_the_batches(tmp_path: Path, batch_size: int) -> None:
    paths = pictures(tmp_path / "photos", 7)
    drawn = [
        [
            one.captions
            for one in small_model(tmp_path / "model", batch_size=size).captions(paths, NUCLEUS, 2, seed)
        ]
        for size, seed in ((3, 5), (batch_size, 5), (3, 6))
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert all(len(set(captions)) == 2 for captions in drawn[0])


class Tight(SmallCaptioning):
    """Runs out of memory, after having drawn, with more than two pictures."""

    def generate(
        self, images: Any, decoding: Decoding, generator: torch.Generator | None = None
    ) -> list[str]:
        written = super().generate(images, decoding, generator)
        if len(images) > 2:
            raise torch.OutOfMemoryError("too much")
        return written


def test_a_batch_that_is_tried_again_draws_the_same(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "photos", 9)
    plain = list(small_model(tmp_path / "model").captions(paths, NUCLEUS, 2))
    tight = small_model(tmp_path / "model", batch_size=16, lm=Tight())
    assert list(tight.captions(paths, NUCLEUS, 2)) == plain


def test_pictures_that_cannot_be_read_keep_their_places(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "photos", 8, broken=(0, 4))
    model = small_model(tmp_path / "model", batch_size=1)
    good = [path for number, path in enumerate(paths) if number not in (0, 4)]
    results = list(model.captions(paths))
    assert [one.path for one in results] == paths
    assert [bool(one.error) for one in results] == [number in (0, 4) for number in range(8)]
    assert [one.captions[0] for one in results if not one.error] == model.caption(good)
    for method in (model.caption, model.embed_images):
        with pytest.raises(DataError, match=r"00\.png: unreadable image"):
            method(paths)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_a_match_is_the_softmax_of_the_heads_logits(tmp_path: Path, batch_size: int) -> None:
    (path,) = pictures(tmp_path / "photos", 1)
    texts = ["A cat!", "...", "a dog", "red", "a cat"]
    model = small_model(tmp_path / "model", batch_size=batch_size)
    matched = model.match(path, texts)
    assert [one.text for one in matched] == texts
    assert matched[1].error.startswith("empty text")
    images = model.learner.model.encode_images(pixels(model, [path]))
    for one, cleaned in zip(matched, ("a cat", None, "a dog", "red", "a cat"), strict=True):
        if cleaned is None:
            continue
        encoded = model.learner.model.encode_texts([cleaned])
        logits = model.learner.heads["itm"].match_logits(images, encoded)
        assert one.probability == pytest.approx(float(logits.softmax(1)[0, 1]))
        assert one.similarity == pytest.approx(float((images.features * encoded.features).sum()), abs=1e-6)
    assert matched[0].probability == matched[4].probability


def test_features_are_the_models_own(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "photos", 5)
    model = small_model(tmp_path / "model", batch_size=2)
    rows = model.embed_images(paths)
    assert torch.allclose(rows, model.learner.model.encode_images(pixels(model, paths)).features)
    assert torch.allclose(rows.norm(dim=1), torch.ones(5))
    texts = model.embed_texts(["A red cat.", "dog", "two"])
    assert torch.allclose(texts, model.learner.model.encode_texts(["a red cat", "dog", "two"]).features)
    with pytest.raises(DataError, match="empty text"):
        model.embed_texts(["a", "!"])


def test_a_head_that_is_missing_is_named(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "photos", 1)
    captioner, filter_ = (
        small_model(tmp_path / "model", **heads)
        for heads in ({"lm": SmallCaptioning()}, {"itm": SmallMatching()})
    )
    with pytest.raises(CheckpointError, match=r"its heads: lm \(SmallCaptioning\)"):
        captioner.match(paths[0], ["a"])
    with pytest.raises(CheckpointError, match=r"its heads: itm \(SmallMatching\)"):
        filter_.caption(paths)


def test_scores_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "photos", 1)
    model = small_model(tmp_path / "model", itm=SmallMatching(lambda _embed, _text: float("nan")))
    with pytest.raises(CheckpointError, match="not finite"):
        model.match(paths[0], ["a"])
