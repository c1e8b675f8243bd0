"""Figures from plain scores: recall at K, area under the ROC curve, BLEU-4, CIDEr."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pycocoevalcap.cider.cider import Cider
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor


def recall_at(ranks: Tensor, depth: int) -> float:
    """Share of queries whose best relevant item is among the first ``depth``; ranks ``(Q,)`` start at 0."""
    return (ranks < depth).double().mean().item()


def best_ranks(scores: Tensor, relevant: Tensor) -> Tensor:
    """Rank, from 0, of each query's best relevant item.

    A tie counts against the model, so equal scores for everything rank last and not first.

    Args:
        scores: ``(Q, C)`` float; each query has at least one relevant item.
        relevant: ``(Q, C)`` bool.

    Returns:
        ``(Q,)`` int64: the number of irrelevant items that score at least as much as the best relevant one.
    """
    best = scores.masked_fill(~relevant, -torch.inf).amax(dim=1, keepdim=True)
    return ((scores >= best) & ~relevant).sum(dim=1)


def roc_auc(positive: Tensor, negative: Tensor) -> float:
    """Probability that a positive scores above a negative, ties counted half (Mann and Whitney's U).

    Args:
        positive: ``(P,)`` float scores, at least one.
        negative: ``(N,)`` float scores, at least one.
    """
    values, group = torch.cat([positive, negative]).unique(return_inverse=True)
    equal = torch.bincount(group[len(positive) :], minlength=len(values)).double()
    beaten = equal.cumsum(0) - equal / 2
    return (beaten[group[: len(positive)]].mean() / len(negative)).item()


def bleu4(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU-4 without smoothing, from 0 to 1.

    Args:
        captions: one per image, as ``words`` gives them.
        references: at least one per image, likewise.
    """
    most = max(map(len, references))
    # A reference given twice changes nothing: n-gram counts are maxima, and the length is the closest one.
    streams = [[own[i % len(own)] for own in references] for i in range(most)]
    scorer = BLEU(smooth_method="none", tokenize="none", force=True)
    return scorer.corpus_score(list(captions), streams).score / 100


def cider(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr-D as COCO's scorer computes it; papers print 100 times it.

    Document frequencies come from the references themselves, so it is 0 unless images differ in theirs. The
    mean runs over 1-grams to 4-grams, so references of fewer than four words can't reach the scale's 10.

    Args: as for ``bleu4``.
    """
    score, _ = Cider().compute_score(
        {i: list(own) for i, own in enumerate(references)}, {i: [text] for i, text in enumerate(captions)}
    )
    return float(score)
