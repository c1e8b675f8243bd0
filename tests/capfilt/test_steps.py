"""The steps that mmtk brings along, on a learner small enough to work out by hand."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from mmtk_capfilt.ledger import ITC, ITM
from mmtk_capfilt.steps.by_fold import ByFold
from mmtk_capfilt.steps.caption import Caption
from mmtk_capfilt.steps.configs import (
    ByFoldConfig,
    CaptionConfig,
    CaptionDecoding,
    KeepBestConfig,
    LengthFilterConfig,
    MergeConfig,
)
from mmtk_capfilt.steps.matching import FeatureFilter, MatchFilter
from mmtk_capfilt.steps.texts import KeepBest, LengthFilter, Merge

from mmtk.api import (
    DEFAULT_LIMITS,
    AtLeast,
    CheckpointError,
    ImageCandidates,
    Quarantined,
    RecipeError,
    StageError,
)
from mmtk.data.images.decode import decode_image
from mmtk.data.images.transforms import BlipTest
from mmtk.data.texts import BlipCaption
from mmtk.engine.checkpoint import WEIGHTS
from mmtk.engine.learner import Learner
from mmtk.testing import tiny_blueprint
from tests.capfilt.passes import Cleaned, Hashed, Writes, clean, config
from tests.small_learner import (
    WIDTH,
    Built,
    ListReader,
    SmallCaptioning,
    SmallMatching,
    match_logit,
    sample,
    small_learner,
    text_point,
)

IMAGES = 5


def reader(*texts: str) -> ListReader:
    return ListReader([sample(n, *(texts or (f"A cat, {n}!", f"dog {n}"))) for n in range(IMAGES)])


def fields(folder: Path, weights: bytes = b"weights") -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(weights)
    return {"checkpoint": folder, "image_transform": None, "device": "cpu", "registry": None}


def with_learner(step: Any, learner: Learner | None = None) -> Any:
    step.learner = learner or small_learner()
    return step


def caption(folder: Path, learner: Learner | None = None, **changes: Any) -> Any:
    keys = {"decoding": CaptionDecoding(), "captions": 1, "batch_size": 64, **changes}
    return with_learner(Caption(**fields(folder) | keys), learner)


def itm(folder: Path, learner: Learner | None = None, **changes: Any) -> Any:
    keys = {"threshold": 0.5, "synthetic_threshold": None, "batch_size": 64, **changes}
    return with_learner(MatchFilter(**fields(folder) | keys), learner)


def itc(folder: Path, learner: Learner | None = None, **changes: Any) -> Any:
    keys = {"threshold": 0.0, "synthetic_threshold": None, "batch_size": 64, **changes}
    return with_learner(FeatureFilter(**fields(folder) | keys), learner)


def run(folder: Path, *steps: Any, texts: Sequence[str] = (), **changes: Any) -> Cleaned:
    return clean(folder / "stage", config(reader(*texts), *steps, **changes))


def embedding(key: str) -> torch.Tensor:
    """What the small model makes of an image of ``reader``."""
    transform = BlipTest(size=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    picture = decode_image(sample(int(key[1:])).image)
    return transform(picture, torch.Generator()).flatten()[:WIDTH]


def test_captions_are_synthetic_and_name_their_writer(tmp_path: Path) -> None:
    done = run(tmp_path, caption(tmp_path, captions=2))
    written = [row for row in done.rows if row["source"] == "synthetic"]
    assert len(written) == 2 * IMAGES
    digest = hashlib.blake2b(b"weights").hexdigest()[:12]
    assert {row["written_by"] for row in written} == {digest}
    assert {row["written_by"] for row in done.rows if row["source"] == "web"} == {""}
    assert done.funnel["captioned"] == IMAGES
    assert [one.key for one in done.written if one.source == "synthetic"][:2] == ["k0-syn", "k0-syn-2"]


def test_nucleus_sampling_is_the_papers_choice() -> None:
    decoding = CaptionConfig(checkpoint=Path("c")).decoding
    assert (decoding.method, decoding.top_p) == ("nucleus", 0.9)


def test_what_is_drawn_depends_on_seed_and_images_of_a_batch(tmp_path: Path) -> None:
    def texts(name: str, seed: int = 3, **changes: Any) -> list[str]:
        wanted = config(reader(), caption(tmp_path), **changes)
        return [
            row["text"] for row in clean(tmp_path / name, wanted, seed).rows if row["source"] == "synthetic"
        ]

    once = texts("a")
    assert texts("b") == once
    assert texts("c", data={"batch_size": 3, "workers": 2}) == once
    assert texts("d", seed=4) != once
    assert texts("e", part_size=2) != once  # other images in a batch


def test_the_caption_steps_batches_are_its_own(tmp_path: Path) -> None:
    learner = small_learner()
    run(tmp_path, caption(tmp_path, learner, batch_size=2), data={"batch_size": 4})
    heads = learner.heads["lm"]
    assert isinstance(heads, SmallCaptioning)
    assert len(heads.decodings) == 3  # parts of 4 and 1 images


def test_several_captions_need_sampling() -> None:
    beam = CaptionConfig(checkpoint=Path("c"), captions=2, decoding=CaptionDecoding(method="beam"))
    assert [name for name, _ in beam.check()] == ["captions"]
    assert not list(CaptionConfig(checkpoint=Path("c"), captions=2).check())


def test_a_checkpoint_without_the_head_is_told(tmp_path: Path) -> None:
    learner = small_learner(itm=SmallMatching())
    with pytest.raises(StageError, match=r"^step caption: this needs a head that can write captions"):
        run(tmp_path, caption(tmp_path, learner))


def test_a_missing_checkpoint_is_told(tmp_path: Path) -> None:
    step = caption(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(StageError, match=r"^step caption: .*no checkpoint"):
        run(tmp_path, step)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is missing; did you mean .*other\?$"):
        caption(tmp_path / "other", checkpoint=tmp_path)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_itm_filter_scores_each_pair_by_itself(tmp_path: Path, batch_size: int) -> None:
    done = run(tmp_path, itm(tmp_path, batch_size=batch_size))
    assert len(done.rows) == 2 * IMAGES
    for row in done.rows:
        embed, cleaned = embedding(row["key"]), BlipCaption()(row["text"])
        probability = torch.sigmoid(torch.tensor(match_logit(embed, cleaned))).item()
        assert row[ITM] == pytest.approx(probability, abs=1e-5)
        cosine = torch.nn.functional.cosine_similarity(embed, text_point(cleaned), dim=0).item()
        assert row[ITC] == pytest.approx(cosine, abs=1e-5)
        assert (row["decision"] == "kept") == (row[ITM] >= 0.5)
        assert row["scored_by"].startswith("matchfilter:")
    assert {row["decision"] for row in done.rows} == {"kept", "dropped"}


def test_synthetic_texts_may_have_a_threshold_of_their_own(tmp_path: Path) -> None:
    steps = caption(tmp_path), itm(tmp_path, threshold=0.0, synthetic_threshold=1.0)
    done = run(tmp_path, *steps)
    assert {(row["source"], row["decision"]) for row in done.rows} == {
        ("web", "kept"),
        ("synthetic", "dropped"),
    }
    assert steps[1].rules == (AtLeast(ITM, 0.0, "web"), AtLeast(ITM, 1.0, "synthetic"))


def test_the_itc_filter_keeps_close_texts_and_needs_no_matching_head(tmp_path: Path) -> None:
    learner = small_learner(lm=SmallCaptioning())
    done = run(tmp_path, itc(tmp_path, learner, threshold=0.1))
    assert {row["decision"] for row in done.rows} == {"kept", "dropped"}
    for row in done.rows:
        assert row[ITM] is None
        assert (row["decision"] == "kept") == (row[ITC] >= 0.1)


def test_each_picture_is_encoded_once_for_all_of_its_texts(tmp_path: Path) -> None:
    learner = small_learner()
    run(tmp_path, itm(tmp_path, learner))
    assert len(learner.model.encoded) == IMAGES


def test_a_step_may_see_pictures_by_a_transform_of_its_own(tmp_path: Path) -> None:
    small, large = small_learner(), small_learner()
    keys = fields(tmp_path / "large") | {"threshold": 0.0, "synthetic_threshold": None, "batch_size": 64}
    own = FeatureFilter(**keys | {"image_transform": Built(BlipTest(size=16))})
    run(tmp_path, itc(tmp_path / "small", small), texts=["a"])
    run(tmp_path / "other", with_learner(own, large), texts=["a"])
    assert small.model.encoded != large.model.encoded
    assert len(large.model.encoded) == IMAGES


def test_images_without_open_texts_are_not_encoded(tmp_path: Path) -> None:
    learner = small_learner()
    done = run(tmp_path, LengthFilter(min_words=9, max_words=None), itm(tmp_path, learner))
    assert learner.model.encoded == []
    assert done.funnel["written"] == 0
    assert list((done.folder / "dataset").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("one", "1 word, fewer than 2"),
        ("!!! one ...", "1 word, fewer than 2"),  # cleaning leaves one
        ("one two", ""),
        ("one two three four", ""),
        ("one two three four five", "5 words, more than 4"),
    ],
)
def test_the_length_filter_counts_words_of_cleaned_texts(tmp_path: Path, text: str, reason: str) -> None:
    rows = run(tmp_path, LengthFilter(min_words=2, max_words=4), Hashed(), texts=[text]).rows
    for row in rows:
        assert (row["reason"], row["final"], row["step"]) == (reason, bool(reason), reason and "lengthfilter")
        assert (row["luck"] is None) == bool(reason)


def test_the_length_filters_bounds_must_fit() -> None:
    assert [name for name, _ in LengthFilterConfig(min_words=3, max_words=2).check()] == ["max_words"]


def test_keep_best_takes_one_text_of_all_sources(tmp_path: Path) -> None:
    done = run(tmp_path, Writes(3), Hashed(), KeepBest(score="luck", count=1))
    for number in range(IMAGES):
        own = [row for row in done.rows if row["key"] == f"k{number}" and row["luck"] is not None]
        (kept,) = [row for row in own if row["decision"] == "kept"]
        assert kept["luck"] == max(row["luck"] for row in own)
    assert KeepBestConfig().score == ITM


def test_human_pairs_are_added_as_they_are(tmp_path: Path) -> None:
    human = ListReader(
        [sample(90, "A red cat.", "short", key="h0", image_id="photo"), sample(91, "one", key="h1")],
        [Quarantined("h2", "no image", "coco.json")],
    )
    merge = Merge(human={"coco": Built(human)}, weights={"coco": 2, "web": 0})
    bars = LengthFilter(min_words=9, max_words=None)
    done = run(tmp_path, bars, Hashed(rules=(AtLeast("luck", 2.0),)), merge, Hashed("later"), bars)
    kept = [row for row in done.rows if row["decision"] == "kept"]
    assert [(row["key"], row["image_id"], row["source"], row["text"]) for row in kept] == [
        ("h0-coco", "photo", "human", "A red cat."), ("h0-coco", "photo", "human", "short"),
        ("h1-coco", "h1", "human", "one"),
    ]  # fmt: skip
    assert all(row["luck"] is None and row["later"] is not None for row in kept)
    assert [one.key for one in done.written] == [
        f"{key}{copy}" for key in ("h0-coco", "h0-coco-2", "h1-coco") for copy in ("", "-copy2")
    ]
    assert [(one["key"], one["location"]) for one in done.quarantine] == [("h2-coco", "coco.json")]


def test_weights_are_of_sources_and_datasets(tmp_path: Path) -> None:
    merge = Merge(human={}, weights={"web": 0.5, "synthetic": 2})
    done = run(tmp_path, Writes(), merge)
    web = [one for one in done.written if one.source == "web"]
    assert 0 < len(web) < 2 * IMAGES
    assert sum(one.source == "synthetic" for one in done.written) == 2 * IMAGES
    assert done.funnel["kept_web"] == 2 * IMAGES
    assert done.funnel["written"] == len(done.written)


@pytest.mark.parametrize(
    ("keys", "places"),
    [
        ({"human": {"coco": None, "coco2017_": None, "käse": None}}, []),
        (
            {"human": {"web": None, "synthetic": None, "syn": None}},
            ["human.web", "human.synthetic", "human.syn"],
        ),
        ({"human": {"2": None, "a-b": None, "a.b": None, "": None, "copy2": None, "a/b": None}}, 6),
        ({"weights": {"web": 2, "synthetic": 0, "coco": 1}}, ["weights.coco"]),
        ({"weights": {"web": math.inf, "synthetic": math.nan}}, ["weights.web", "weights.synthetic"]),
        ({"human": {"coco": None}, "weights": {"coco": 1, "human": 3}}, ["weights.human"]),
    ],
)
def test_names_of_merged_datasets_are_checked(keys: dict[str, Any], places: list[str] | int) -> None:
    found = [place for place, _ in MergeConfig(**keys).check()]
    assert (found if isinstance(places, list) else len(found)) == places


def folds(*steps: Any) -> ByFold:
    return ByFold(steps=[Built(step) for step in steps])


def test_each_fold_has_its_own_step(tmp_path: Path) -> None:
    first, second = small_learner(), small_learner()
    step = folds(itm(tmp_path / "0", first), itm(tmp_path / "1", second))
    done = run(tmp_path, step)
    assert len(done.rows) == 2 * IMAGES
    expected = [tuple(embedding(f"k{number}").tolist()) for number in range(IMAGES)]
    assert first.model.encoded == expected[::2]
    assert second.model.encoded == expected[1::2]
    fingerprint = hashlib.blake2b(b"weights").hexdigest()[:12]
    assert done.rows[0]["scored_by"] == f"byfold:{fingerprint}+{fingerprint}"


def test_folds_without_a_model_have_no_fingerprint(tmp_path: Path) -> None:
    done = run(tmp_path, folds(Hashed(), Hashed()))
    assert {row["scored_by"] for row in done.rows} == {""}


@pytest.mark.parametrize("other", [Hashed("taste"), Hashed(rules=(AtLeast("luck", 0.5),)), Writes()])
def test_the_steps_of_the_folds_must_agree(other: Any) -> None:
    with pytest.raises(ValueError, match="must have the same"):
        folds(Hashed(), other)


def test_the_pass_injects_into_the_steps_of_the_folds() -> None:
    by_fold = tiny_blueprint("capfilt_step", "by_fold", steps=[{"use": "dedup"}, {"use": "dedup"}])
    with pytest.raises(RecipeError, match=r"'by_fold' .* looks through them all can't work on one fold"):
        by_fold.build(data_limits=DEFAULT_LIMITS)


def test_a_step_that_goes_beyond_a_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="can't work on one fold alone"):
        folds(Merge(human={}, weights={}), Merge(human={}, weights={}))
    assert [name for name, _ in ByFoldConfig(steps=(Built(None),)).check()] == ["steps"]


def test_a_folds_step_must_return_its_images(tmp_path: Path) -> None:
    def loses(images: Sequence[ImageCandidates]) -> Sequence[ImageCandidates]:
        return images[1:]

    with pytest.raises(StageError, match="step of fold 1 must return the images that it is given"):
        run(tmp_path, folds(lambda images: images, loses))
    with pytest.raises(StageError, match="step of fold 0 must return the images that it is given"):
        run(tmp_path, folds(lambda _images: None, loses))
    with pytest.raises(StageError, match="step of fold 0 must return the images that it is given"):
        run(tmp_path, folds(lambda images: images[::-1], lambda images: images))
