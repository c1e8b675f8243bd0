"""Writing captions from a decoder that is asked for the next token's logits, step by step.

Shapes: ``B`` images, ``k`` beams, ``R`` rows (``B`` or ``B·k``), ``L`` tokens so far, ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from mmtk.api import Decoding


class StepDecoder(Protocol):
    """A decoder that remembers the tokens it was given."""

    def advance(self, ids: Tensor) -> Tensor:
        """Take the next tokens ``(R, L)`` and return the logits ``(R, V)`` of the one after them."""

    def reorder(self, index: Tensor) -> None:
        """Go on with the remembered rows at ``index`` ``(R',)``."""


def sample(
    decoder: StepDecoder, prompt: Tensor, decoding: Decoding, end_id: int, generator: torch.Generator | None
) -> list[list[int]]:
    """Write token by token: the likeliest one (``method`` beam) or one drawn from the nucleus.

    Args:
        decoder: where nothing was decoded yet.
        prompt: ``(B, L)`` int64, what every row starts with.
        decoding: lengths, penalties and the method.
        end_id: the token that ends a caption.
        generator: CPU generator, needed by ``nucleus``. What a row draws doesn't depend on what others write.
    """
    choose = _nucleus(prompt, decoding, generator) if decoding.method == "nucleus" else _likeliest
    ids = new = prompt
    ended = torch.zeros(len(prompt), dtype=torch.bool, device=prompt.device)
    for length in range(prompt.shape[1], decoding.max_length):
        scores = _constrained(decoder.advance(new), ids, length, decoding, end_id)
        token = choose(scores, length).masked_fill(ended, end_id)
        new = token[:, None]
        ids = torch.cat((ids, new), dim=1)
        ended |= token == end_id
        if ended.all():
            break
    return _cut(ids, prompt.shape[1], end_id)


def beam_search(decoder: StepDecoder, prompt: Tensor, decoding: Decoding, end_id: int) -> list[list[int]]:
    """Keep the ``k`` likeliest beginnings of each row; return the end with the best mean log-probability.

    The mean is over all tokens, the prompt's too, and a row is done when it has ``k`` ended captions and no
    running beam beats them: as in transformers 4.15, which the public BLIP results were made with. As there,
    the repetition penalty works on log-probabilities.

    Args:
        decoder: where nothing was decoded yet.
        prompt: ``(B, L)`` int64, what every row starts with.
        decoding: lengths, penalty and number of beams.
        end_id: the token that ends a caption.
    """
    count, start = prompt.shape
    beams, limit = decoding.beams, decoding.max_length
    device = prompt.device
    first_rows = torch.arange(count, device=device)[:, None]
    ids, new = prompt[:, None], prompt
    scores = torch.zeros(count, 1, device=device)
    ended_scores = torch.full((count, beams), -torch.inf, device=device)
    ended_ids = torch.full((count, beams, limit), end_id, device=device)
    done = torch.zeros(count, dtype=torch.bool, device=device)
    for length in range(start, limit):
        steps = torch.log_softmax(decoder.advance(new).float(), dim=-1)
        steps = _constrained(steps, ids.flatten(0, 1), length, decoding, end_id)
        running, vocab_size = ids.shape[1], steps.shape[-1]
        totals = (scores[:, :, None] + steps.unflatten(0, (count, running))).flatten(1)
        # At most one candidate per beam ends, so twice the beams leaves enough that go on.
        best, place = totals.topk(2 * beams, dim=1)
        beam, token = place // vocab_size, place % vocab_size
        ends = token == end_id
        candidates = _take(ids, beam)
        closing = (best / length).masked_fill(~ends | done[:, None], -torch.inf)[:, :beams]
        ended_scores, ended_ids = _keep_best(ended_scores, ended_ids, closing, candidates[:, :beams], end_id)
        done |= ended_scores[:, -1] >= best[:, 0] / length
        if done.all():
            break
        scores, kept = best.masked_fill(ends, -torch.inf).topk(beams, dim=1)
        token = token.gather(1, kept)
        ids = torch.cat((_take(candidates, kept), token[:, :, None]), dim=2)
        decoder.reorder((first_rows * running + beam.gather(1, kept)).flatten())
        new = token.flatten()[:, None]
    else:
        closing = (scores / limit).masked_fill(done[:, None], -torch.inf)
        ended_scores, ended_ids = _keep_best(ended_scores, ended_ids, closing, ids, end_id)
    return _cut(ended_ids[:, 0], start, end_id)


def _keep_best(
    scores: Tensor, ids: Tensor, new_scores: Tensor, new_ids: Tensor, end_id: int
) -> tuple[Tensor, Tensor]:
    """Merge ``(B, k)`` ended captions with new ones and keep the ``k`` best, the best first."""
    padding = ids.new_full((*new_ids.shape[:2], ids.shape[2] - new_ids.shape[2]), end_id)
    all_ids = torch.cat((ids, torch.cat((new_ids, padding), dim=2)), dim=1)
    kept_scores, kept = torch.cat((scores, new_scores), dim=1).topk(scores.shape[1], dim=1)
    return kept_scores, _take(all_ids, kept)


def _take(ids: Tensor, index: Tensor) -> Tensor:
    """Of captions ``(B, n, L)`` the ones at ``index`` ``(B, m)``."""
    return ids.gather(1, index[:, :, None].expand(-1, -1, ids.shape[2]))


def _constrained(scores: Tensor, ids: Tensor, length: int, decoding: Decoding, end_id: int) -> Tensor:
    """Penalise the tokens of ``ids`` and forbid the end before the least length."""
    penalty = decoding.repetition_penalty
    if penalty != 1.0:
        seen = scores.gather(1, ids)
        scores = scores.scatter(1, ids, torch.where(seen < 0, seen * penalty, seen / penalty))
    if length < decoding.min_length:
        scores = scores.clone()
        scores[:, end_id] = -torch.inf
    return scores


def _likeliest(scores: Tensor, length: int) -> Tensor:  # noqa: ARG001
    return scores.argmax(-1)


def _nucleus(
    prompt: Tensor, decoding: Decoding, generator: torch.Generator | None
) -> Callable[[Tensor, int], Tensor]:
    """Draw from the fewest likeliest tokens that hold ``top_p`` of the mass (Holtzman et al. 2020, §3.1)."""
    assert generator is not None, "nucleus sampling needs a generator"
    # Drawn on the CPU and at once: equal generators give equal captions on every device.
    draws = torch.rand(len(prompt), decoding.max_length, generator=generator).to(prompt.device)

    def choose(scores: Tensor, length: int) -> Tensor:
        masses = torch.softmax(scores.float() / decoding.temperature, dim=-1)
        masses, order = masses.sort(dim=-1, descending=True)
        reached = masses.cumsum(-1)
        size = (reached - masses < decoding.top_p).sum(-1, keepdim=True)
        mass = reached.gather(1, size - 1)
        rank = torch.searchsorted(reached, draws[:, length, None] * mass, right=True)
        return order.gather(1, torch.minimum(rank, size - 1)).squeeze(1)

    return choose


def _cut(ids: Tensor, start: int, end_id: int) -> list[list[int]]:
    """Each row up to its first end behind the prompt of ``start`` tokens."""
    rows = ids.tolist()
    return [row[: row.index(end_id, start)] if end_id in row[start:] else row for row in rows]
