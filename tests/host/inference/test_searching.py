from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmtk.errors import CheckpointError, DataError
from mmtk.inference.index_files import read_index
from mmtk.inference.model import InferenceModel
from mmtk.inference.pictures import read_pictures
from tests.host.inference.small_model import pictures, small_model
from tests.small_learner import SmallCaptioning

COUNT = 12


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    return pictures(tmp_path / "photos", COUNT)


@pytest.fixture
def model(tmp_path: Path, paths: list[str]) -> InferenceModel:
    made = small_model(tmp_path / "model")
    made.index(paths, tmp_path / "index")
    return made


def cosines(model: InferenceModel, paths: list[str], text: str) -> torch.Tensor:
    return model.embed_images(paths) @ model.embed_texts([text])[0]


def by_hand(model: InferenceModel, paths: list[str], text: str, rerank: int) -> list[str]:
    """Rank every picture by itself: the best by cosine, these anew by matching logit plus cosine."""
    cosine = cosines(model, paths, text)
    order = cosine.argsort(descending=True).tolist()
    images = [model.learner.model.encode_images(pixels[None]) for pixels in tensors(model, paths)]
    texts = model.learner.model.encode_texts([text])
    logit = [float(model.learner.heads["itm"].match_logits(image, texts)[0, 1]) for image in images]
    first = sorted(order[:rerank], key=lambda row: -(logit[row] + float(cosine[row])))
    return [paths[row] for row in [*first, *order[rerank:]]]


def tensors(model: InferenceModel, paths: list[str]) -> list[torch.Tensor]:
    return [one.pixels for one in read_pictures(paths, model.preparation.image) if one.pixels is not None]


@pytest.mark.parametrize(("rerank", "top"), [(0, 4), (3, 3), (5, 8), (8, 5), (100, 12), (None, 12)])
@pytest.mark.parametrize("text", ["a red cat", "two", "dog"])
def test_the_order_is_that_of_brute_force(
    model: InferenceModel, paths: list[str], tmp_path: Path, text: str, rerank: int | None, top: int
) -> None:
    found = model.search(text, tmp_path / "index", top=top, rerank=rerank)
    expected = by_hand(model, paths, text, COUNT if rerank is None else rerank)
    assert [one.path for one in found] == expected[:top]
    cosine = dict(zip(paths, cosines(model, paths, text).tolist(), strict=True))
    assert [one.similarity for one in found] == pytest.approx([cosine[one.path] for one in found], abs=1e-6)
    asked = len([one for one in found if one.probability is not None])
    assert asked == min(top, COUNT if rerank is None else rerank)
    if rerank is None:
        assert [one.probability for one in found] == pytest.approx(
            [model.match(one.path, [text])[0].probability for one in found]
        )


def test_the_matching_head_changes_the_order(model: InferenceModel, tmp_path: Path) -> None:
    orders = [
        [one.path for one in model.search("a red cat", tmp_path / "index", top=COUNT, rerank=rerank)]
        for rerank in (0, COUNT)
    ]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


def test_a_picture_finds_itself_first(model: InferenceModel, paths: list[str], tmp_path: Path) -> None:
    found = model.search(paths[7], tmp_path / "index", by_image=True, top=2)
    assert found[0].path == paths[7]
    assert found[0].similarity == pytest.approx(1)
    assert found[0].probability is None


def test_a_picture_that_is_gone_is_listed_behind_those_that_were_matched(
    model: InferenceModel, tmp_path: Path
) -> None:
    best = model.search("dog", tmp_path / "index", top=4, rerank=0)
    Path(best[0].path).unlink()
    found = model.search("dog", tmp_path / "index", top=4, rerank=3)
    assert {one.path for one in found[:3]} == {one.path for one in best[:3]}
    assert found[2].path == best[0].path
    assert found[2].error == "no such file"
    assert found[2].probability is None
    assert found[3] == best[3]


def test_without_a_matching_head_features_decide(model: InferenceModel, tmp_path: Path) -> None:
    captioner = small_model(tmp_path / "model", lm=SmallCaptioning())
    assert captioner.search("dog", tmp_path / "index") == model.search("dog", tmp_path / "index", rerank=0)
    with pytest.raises(CheckpointError, match="text belong together"):
        captioner.search("dog", tmp_path / "index", rerank=3)


def test_an_index_of_another_model_is_refused(model: InferenceModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="made with pictures of 8 pixels, and the model was loaded for 16"):
        small_model(tmp_path / "model", image_size=16).search("dog", tmp_path / "index")
    (tmp_path / "model" / "learner.json").write_text("{ }")
    with pytest.raises(DataError, match=r"made with .*model as it was then, which is not the model"):
        small_model(tmp_path / "model").search("dog", tmp_path / "index")
    assert model.search("dog", tmp_path / "index")


def test_nothing_to_search_in_or_for(model: InferenceModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="empty text"):
        model.search("!", tmp_path / "index")
    model.index([], tmp_path / "index")
    assert len(read_index(tmp_path / "index").pictures) == 0
    with pytest.raises(DataError, match="holds no pictures"):
        model.search("dog", tmp_path / "index")
