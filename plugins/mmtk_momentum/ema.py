"""The momentum encoder: a slow copy of the feature towers that offers steadier features (ALBEF §3.3)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import nn

from mmtk.api import (
    Batch,
    ForwardContext,
    Model,
    MomentumKeys,
    StepState,
    TextEncoding,
    gather,
    local_part,
    row_counts,
)
from mmtk_momentum.queue import FeatureQueue


class MomentumEncoder(nn.Module):
    """An exponential moving average of a model's feature towers, and the queue of its features.

    The copy is frozen and always in evaluation mode, so its features have no dropout. Nothing of the online
    model is among its parameters or in its state dict, which holds the copy and the queue.

    Args:
        model: a deep copy of its ``feature_towers()`` is the start of the average.
        momentum: share of the average that a step keeps.
        queue_size: pairs of features that the queue holds.
    """

    def __init__(self, *, model: Model, momentum: float = 0.995, queue_size: int = 57600) -> None:
        super().__init__()
        towers: Any = model.feature_towers()
        self._online = (towers,)  # in a tuple, so that it is no submodule
        self.momentum = momentum
        self.twin: nn.Module = copy.deepcopy(towers).requires_grad_(False).eval()
        self.queue = FeatureQueue(queue_size, towers.embed_dim)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.twin.eval()
        return self

    @torch.no_grad()
    def before_step(self, state: StepState) -> None:  # noqa: ARG002
        """Move the copy: slow = momentum * slow + (1 - momentum) * online. Buffers are copied."""
        (online,) = self._online
        # Where the parameters are in shards, so are the slow ones, alike.
        slow_ones, fast_ones = ([local_part(p) for p in one.parameters()] for one in (self.twin, online))
        torch._foreach_lerp_(slow_ones, fast_ones, 1 - self.momentum)
        for slow, fast in zip(self.twin.buffers(), online.buffers(), strict=True):
            slow.copy_(fast)

    @torch.no_grad()
    def keys(self, batch: Batch, text: TextEncoding) -> MomentumKeys:
        """Features ``(B, E)`` of the batch by the copy, and what the queue holds of earlier batches.

        Where the towers return their image tokens as well, the keys hold them.
        """
        images, texts, *embeds = self.twin(batch.images, text.ids, text.mask)
        return MomentumKeys(images, texts, *self.queue.contents(), *embeds)

    @torch.no_grad()
    def after_step(self, contexts: Sequence[ForwardContext]) -> None:
        """Push the features of the step's batches in order, those of all ranks in the order of the ranks.

        So the queues of all ranks stay equal.
        """
        if self.queue.size == 0:
            return
        for context in contexts:
            keys = context.momentum_keys
            assert keys is not None, "the context was made without this momentum encoder"
            batch = context.batch
            own = (keys.image_features, keys.text_features, batch.image_ids, batch.text_ids)
            counts = row_counts(batch.image_ids)
            self.queue.push(*(gather(rows, counts) for rows in own))
