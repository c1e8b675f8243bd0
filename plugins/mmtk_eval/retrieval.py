"""Image-text retrieval as BLIP does it: an ITC shortlist that the matching head ranks anew (BLIP §5.1)."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor

from mmtk.api import EvaluationData, ImageEncoding, Learner, MatchingHead, Model, StageContext, StageError
from mmtk_eval.scores import best_ranks, recall_at

DEPTHS = (1, 5, 10)
QUERIES_AT_ONCE = 1024


class Gallery(NamedTuple):
    """What is searched, every image and every distinct text once.

    Attributes:
        encodings: the images, batch by batch.
        texts: ``T`` distinct texts.
        similarity: ``(I, T)`` float32 cosines, on the CPU.
        relevant: ``(I, T)`` bool: whether the text was given to this image in the data.
    """

    encodings: deque[ImageEncoding]
    texts: list[str]
    similarity: Tensor
    relevant: Tensor


class Retrieval:
    """R@1, R@5 and R@10 both ways, by the ITC ranking alone and with its first ``k`` ranked anew by ITM.

    The score of a shortlisted pair is the matching logit plus the cosine, as in BLIP's
    ``train_retrieval.py``; what is not on the shortlist follows in the order of its cosine. Samples of one
    ``image_id`` are one image with all their texts. Equal texts are one text, relevant to every image that
    has it. Ties count against the model.
    """

    def __init__(self, *, k: int, pairs_per_batch: int) -> None:
        self._k = k
        self._pairs_per_batch = pairs_per_batch

    @torch.inference_mode()
    def __call__(self, learner: Learner, data: EvaluationData, context: StageContext) -> dict[str, float]:
        """Return the shares by keys like ``text_to_image/r1`` and ``itc/text_to_image/r1``, and the counts.

        Raises CheckpointError without a matching head (unless ``k`` is 0), StageError when a score is not
        finite.
        """
        gallery = self._collect(learner.model, data, context.device)
        similarity, relevant = gallery.similarity, gallery.relevant
        figures: dict[str, float] = {"images": similarity.shape[0], "texts": similarity.shape[1]}
        figures |= recalls("itc/image_to_text", similarity, relevant)
        figures |= recalls("itc/text_to_image", similarity.T, relevant.T)
        if not self._k:
            return figures
        texts_of_image = shortlist(similarity, self._k)
        images_of_text = shortlist(similarity.T, self._k).T
        scores = similarity + self._match(learner, gallery, texts_of_image | images_of_text)
        figures |= recalls("image_to_text", reranked(similarity, scores, texts_of_image), relevant)
        figures |= recalls("text_to_image", reranked(similarity, scores, images_of_text).T, relevant.T)
        return figures

    def _collect(self, model: Model, data: EvaluationData, device: str) -> Gallery:
        image_rows: dict[int, int] = {}
        text_rows: dict[str, int] = {}
        pairs: list[tuple[int, int]] = []
        encodings: deque[ImageEncoding] = deque()
        features: list[Tensor] = []
        for batch in data:
            new: list[int] = []
            for row, (key, image_id) in enumerate(zip(batch.keys, batch.image_ids.tolist(), strict=True)):
                if image_id not in image_rows:
                    image_rows[image_id] = len(image_rows)
                    new.append(row)
                for text in data.texts_of(key):
                    pairs.append((image_rows[image_id], text_rows.setdefault(text, len(text_rows))))
            if new:
                encodings.append(model.encode_images(batch.images[new].to(device)))
                features.append(encodings[-1].features.float().cpu())
        if not pairs:
            raise StageError("retrieval: the dataset has no readable pair")
        texts = list(text_rows)
        parts = (texts[i : i + self._pairs_per_batch] for i in range(0, len(texts), self._pairs_per_batch))
        text_features = torch.cat([model.encode_texts(part).features.float().cpu() for part in parts])
        similarity = torch.cat(features) @ text_features.T
        relevant = torch.zeros(similarity.shape, dtype=torch.bool)
        relevant[tuple(torch.tensor(pairs).T)] = True
        return Gallery(encodings, texts, finite(similarity), relevant)

    def _match(self, learner: Learner, gallery: Gallery, wanted: Tensor) -> Tensor:
        """Matching logits of the ``wanted`` pairs, ``(I, T)`` float32; 0 elsewhere. Uses up the encodings."""
        head = learner.head_with(MatchingHead)
        logits = torch.zeros(wanted.shape)
        first = 0
        while gallery.encodings:
            # Taken off the queue, so that what the head derives from a batch of images is freed with it.
            encoding = gallery.encodings.popleft()
            pairs = wanted[first : first + len(encoding)].nonzero()
            for images, texts in (part.unbind(1) for part in pairs.split(self._pairs_per_batch)):
                selected = encoding.select(images.to(encoding.embeds.device))
                encoded = learner.model.encode_texts([gallery.texts[text] for text in texts.tolist()])
                match = head.match_logits(selected, encoded)[:, 1]
                logits[first + images, texts] = match.float().cpu()
            first += len(encoding)
        return finite(logits)


def shortlist(similarity: Tensor, k: int) -> Tensor:
    """Mark the ``k`` best candidates of each query, or all of fewer: ``(Q, C)`` to ``(Q, C)`` bool."""
    best = similarity.topk(min(k, similarity.shape[1]), dim=1).indices
    return torch.zeros(similarity.shape, dtype=torch.bool).scatter_(1, best, True)


def reranked(similarity: Tensor, scores: Tensor, shortlisted: Tensor) -> Tensor:
    """Put the shortlisted pairs first, by ``scores``, and all others behind them, by ``similarity``.

    Args:
        similarity: ``(I, T)`` cosines, so within [-1, 1].
        scores: ``(I, T)``; read where ``shortlisted``.
        shortlisted: ``(I, T)`` bool.
    """
    below = scores[shortlisted].min() - 3
    return torch.where(shortlisted, scores, similarity + below)


def recalls(name: str, scores: Tensor, relevant: Tensor) -> dict[str, float]:
    """R@K for each of ``DEPTHS`` over queries in rows and candidates in columns, ``(Q, C)`` each."""
    parts = zip(scores.split(QUERIES_AT_ONCE), relevant.split(QUERIES_AT_ONCE), strict=True)
    ranks = torch.cat([best_ranks(part, marks) for part, marks in parts])
    return {f"{name}/r{depth}": recall_at(ranks, depth) for depth in DEPTHS}


def finite(scores: Tensor) -> Tensor:
    """Return ``scores``. Raises StageError when one is not finite: a comparison with NaN would be a hit."""
    if not torch.isfinite(scores).all():
        raise StageError("retrieval: scores are not finite; the checkpoint's training has diverged")
    return scores
