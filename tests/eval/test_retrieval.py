from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmtk_eval.retrieval import Retrieval, reranked, shortlist
from torch import Tensor

from mmtk.data.pipeline import EvaluationData
from mmtk.engine.learner import Learner
from mmtk.errors import CheckpointError, StageError
from mmtk.types import RawSample
from tests.small_learner import (
    ListReader,
    SmallCaptioning,
    SmallMatching,
    data_config,
    match_logit,
    sample,
    small_learner,
    stage_context,
)


def evaluation_data(samples: list[RawSample], batch_size: int = 3) -> EvaluationData:
    return EvaluationData(data_config(ListReader(samples), batch_size=batch_size))


def run(
    samples: list[RawSample],
    *,
    k: int,
    learner: Learner | None = None,
    pairs_per_batch: int = 4,
    batch_size: int = 3,
) -> dict[str, float]:
    metric = Retrieval(k=k, pairs_per_batch=pairs_per_batch)
    data = evaluation_data(samples, batch_size)
    return metric(learner or small_learner(), data, stage_context(Path()))


def reference(samples: list[RawSample], k: int) -> dict[str, float]:
    """The same figures from plain loops over every pair."""
    learner = small_learner()
    images: dict[str, Tensor] = {}
    owners: dict[str, set[str]] = {}
    batches = evaluation_data(samples, batch_size=1)
    for raw, batch in zip(samples, batches, strict=True):
        images.setdefault(raw.image_id, learner.model.encode_images(batch.images).embeds[0, 0])
        for text in batches.texts_of(raw.key):
            owners.setdefault(text, set()).add(raw.image_id)
    texts = list(owners)
    text_points = dict(zip(texts, learner.model.encode_texts(texts).features, strict=True))
    cosine = {
        (i, t): float(torch.nn.functional.normalize(images[i], dim=0) @ text_points[t])
        for i in images
        for t in texts
    }
    figures: dict[str, float] = {"images": len(images), "texts": len(texts)}
    for direction in ("image_to_text", "text_to_image"):
        ranks: dict[str, list[int]] = {"itc/": [], "": []}
        for query in images if direction == "image_to_text" else texts:
            if direction == "image_to_text":
                pairs = [(query, t) for t in texts]
                right = [query in owners[t] for t in texts]
            else:
                pairs = [(i, query) for i in images]
                right = [i in owners[query] for i in images]
            order = sorted(range(len(pairs)), key=lambda n, pairs=pairs: -cosine[pairs[n]])
            ranks["itc/"].append(min(rank for rank, n in enumerate(order) if right[n]))
            scores = {n: match_logit(images[pairs[n][0]], pairs[n][1]) + cosine[pairs[n]] for n in order[:k]}
            order = sorted(order[:k], key=lambda n, scores=scores: -scores[n]) + order[k:]
            ranks[""].append(min(rank for rank, n in enumerate(order) if right[n]))
        for prefix, found in ranks.items():
            for depth in (1, 5, 10):
                share = sum(rank < depth for rank in found) / len(found)
                figures[f"{prefix}{direction}/r{depth}"] = share
    return figures


@st.composite
def datasets(draw: st.DrawFn) -> list[RawSample]:
    """Images with one to three texts, some texts of several images, some images in several samples."""
    count = draw(st.integers(1, 14))
    samples = []
    for n in range(count):
        picture = draw(st.integers(0, n))
        texts = draw(st.lists(st.sampled_from([f"text {m}" for m in range(16)]), min_size=1, max_size=3))
        samples.append(sample(picture, *texts, key=f"s{n}", image_id=f"image {picture}"))
    return samples


@settings(max_examples=60, deadline=None)
@given(datasets(), st.integers(1, 20), st.integers(1, 7))
def test_agrees_with_plain_loops(samples: list[RawSample], k: int, pairs_per_batch: int) -> None:
    found = run(samples, k=k, pairs_per_batch=pairs_per_batch)
    assert found == pytest.approx(reference(samples, k))


def test_a_shortlist_longer_than_the_data_ranks_everything() -> None:
    samples = [sample(n) for n in range(5)]
    assert run(samples, k=1000) == run(samples, k=5)


def test_without_a_shortlist_only_the_itc_ranking_is_reported_and_no_matching_head_needed() -> None:
    samples = [sample(n) for n in range(5)]
    found = run(samples, k=0, learner=small_learner(lm=SmallCaptioning()))
    assert set(found) == {"images", "texts"} | {
        f"itc/{direction}/r{depth}"
        for direction in ("image_to_text", "text_to_image")
        for depth in (1, 5, 10)
    }
    assert found.items() <= run(samples, k=3).items()


def test_a_missing_matching_head_is_an_error_that_names_the_heads() -> None:
    with pytest.raises(CheckpointError, match="lm"):
        run([sample(0), sample(1)], k=3, learner=small_learner(lm=SmallCaptioning()))


def test_every_image_is_encoded_once_and_every_pair_scored_once() -> None:
    learner = small_learner()
    samples = [sample(n // 2, f"text {n}", key=f"s{n}", image_id=f"image {n // 2}") for n in range(12)]
    run(samples, k=4, learner=learner, pairs_per_batch=5)
    assert len(learner.model.encoded) == len(set(learner.model.encoded)) == 6
    asked = learner.heads["itm"].pairs
    assert max(map(len, asked)) <= 5
    # The two shortlists have at most 6 * 4 + 12 * 4 pairs, and there are only 72.
    assert sum(map(len, asked)) <= 66


def test_matching_can_put_right_what_the_shortlist_has_in_the_wrong_order() -> None:
    learner = small_learner(itm=SmallMatching(lambda _, text: 9.0 if text == "right" else 0.0))
    samples = [sample(0, "right"), sample(1, "wrong one"), sample(2, "wrong two")]
    found = run(samples, k=3, learner=learner)
    assert found["image_to_text/r1"] == pytest.approx(1 / 3)
    # With a shortlist of one, a text can only be moved up where it is on it.
    assert run(samples, k=1, learner=learner)["image_to_text/r1"] == found["itc/image_to_text/r1"]


def test_scores_that_are_not_finite_are_an_error_and_no_hits() -> None:
    learner = small_learner(itm=SmallMatching(lambda *_: float("nan")))
    with pytest.raises(StageError, match="not finite"):
        run([sample(0), sample(1)], k=2, learner=learner)


def test_a_model_that_scores_all_pairs_alike_finds_nothing() -> None:
    similarity = torch.zeros(4, 4)
    everything = torch.ones(4, 4, dtype=torch.bool)
    assert reranked(similarity, similarity, everything).unique().numel() == 1


def test_shortlisted_pairs_come_before_all_others() -> None:
    similarity = torch.tensor([[1.0, 0.5, -1.0]])
    scores = torch.tensor([[0.0, -40.0, -50.0]])
    shortlisted = torch.tensor([[False, True, True]])
    order = reranked(similarity, scores, shortlisted).argsort(descending=True)
    assert order.tolist() == [[1, 2, 0]]


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 9))
def test_a_shortlist_holds_the_best(queries: int, items: int, k: int) -> None:
    similarity = torch.rand(queries, items, generator=torch.Generator().manual_seed(queries * 7 + items))
    marked = shortlist(similarity, k)
    assert marked.sum(1).tolist() == [min(k, items)] * queries
    lowest = similarity.masked_fill(~marked, 2).amin(1)
    assert (similarity.masked_fill(marked, -1).amax(1) <= lowest).all()
