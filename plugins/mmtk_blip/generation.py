"""Writing captions from a decoder that is asked for the next token's logits, step by step.

Rows that are done leave the batch: see ``_staying``. Captions don't depend on it.

Shapes: ``B`` images, ``n`` of them still in the batch, ``k`` beams, ``R`` rows (``n`` or ``n·k``), ``L``
tokens so far, ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mmtk.api import Decoding


class StepDecoder(Protocol):
    """A decoder that remembers the tokens it was given."""

    def advance(self, ids: Tensor) -> Tensor:
        """Take the next tokens ``(R, L)`` and return the logits ``(R, V)`` of the one after them.

        The caller may write into the logits.
        """

    def select(self, rows: Tensor, images: Tensor | None = None) -> None:
        """Go on with the remembered ``rows`` ``(R',)`` and, where given, with ``images`` ``(n',)`` alone.

        The rows stay in the order of their images, as many for each.
        """


Choice = Callable[[Tensor, Tensor, int], Tensor]
USUAL_NUCLEUS = 512  # tokens; to sort a whole vocabulary takes 60 times as long as to find so many


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
    count, start = prompt.shape
    choose = _nucleus(prompt, decoding, generator) if decoding.method == "nucleus" else _likeliest
    written = prompt.new_full((count, decoding.max_length), end_id)
    written[:, :start] = prompt
    image = torch.arange(count, device=prompt.device)
    ended = torch.zeros(count, dtype=torch.bool, device=prompt.device)
    new = prompt
    for length in range(start, decoding.max_length):
        scores = decoder.advance(new)
        _constrain(scores, written[image, :length], decoding, end_id)
        token = choose(scores, image, length).masked_fill(ended, end_id)
        written[image, length] = token
        ended |= token == end_id
        if ended.all():
            break
        staying = _staying(ended, decoding.max_length - length - 1)
        if staying is not None:
            image, token, ended = image[staying], token[staying], ended[staying]
            decoder.select(staying, staying)
        new = token[:, None]
    return _cut(written, start, end_id)


class _Beams(NamedTuple):
    """Where beam search stands, for the ``n`` images in the batch."""

    image: Tensor  # (n,) int64, which of the B images
    ids: Tensor  # (n, k, L) int64
    scores: Tensor  # (n, k), summed log-probabilities
    ended_scores: Tensor  # (n, k), mean log-probabilities, the best first
    ended_ids: Tensor  # (n, k, max_length) int64
    done: Tensor  # (n,) bool

    def select(self, images: Tensor) -> _Beams:
        return _Beams(*(part.index_select(0, images) for part in self))


def beam_search(decoder: StepDecoder, prompt: Tensor, decoding: Decoding, end_id: int) -> list[list[int]]:
    """Keep the ``k`` likeliest beginnings of each row; return the end with the best mean log-probability.

    The mean is over all tokens, the prompt's too, and a row is done when it has ``k`` ended captions and no
    running beam beats them: as in transformers 4.15, which the public BLIP results were made with. As there,
    the repetition penalty works on log-probabilities. transformers 5 leaves the prompt out of the mean,
    counts one token less in captions that were cut at the greatest length, and compares running beams alone;
    where all captions have one length (``min_length`` equals ``max_length``) none of that matters.

    Args:
        decoder: where nothing was decoded yet.
        prompt: ``(B, L)`` int64, what every row starts with.
        decoding: lengths, penalty and number of beams.
        end_id: the token that ends a caption.
    """
    count, start = prompt.shape
    width, limit, device = decoding.beams, decoding.max_length, prompt.device
    state = _Beams(
        image=torch.arange(count, device=device),
        ids=prompt[:, None],
        scores=torch.zeros(count, 1, device=device),
        ended_scores=torch.full((count, width), -torch.inf, device=device),
        ended_ids=torch.full((count, width, limit), end_id, device=device),
        done=torch.zeros(count, dtype=torch.bool, device=device),
    )
    captions = state.ended_ids[:, 0].clone()
    new = prompt
    for length in range(start, limit):
        state, rows = _beam_step(state, decoder.advance(new), decoding, end_id)
        if state.done.all():
            break
        staying = _staying(state.done, limit - length - 1)
        if staying is not None:
            captions[state.image] = state.ended_ids[:, 0]
            state, rows = state.select(staying), rows[staying]
        decoder.select(rows.flatten(), staying)
        new = state.ids[:, :, -1].flatten()[:, None]
    else:
        closing = (state.scores / limit).masked_fill(state.done[:, None], -torch.inf)
        state = _with_ended(state, closing, state.ids, end_id)
    captions[state.image] = state.ended_ids[:, 0]
    return _cut(captions, start, end_id)


def _beam_step(state: _Beams, logits: Tensor, decoding: Decoding, end_id: int) -> tuple[_Beams, Tensor]:
    """Add the next token: the new state, and the decoder's rows ``(n, k)`` that its beams go on from.

    Args:
        state: with ``k'`` running beams, 1 in the first step and ``k`` later.
        logits: ``(n·k', V)``; written into.
        decoding: number of beams and what ``_constrain`` reads.
        end_id: the token that ends a caption.
    """
    width = decoding.beams
    count, running, length = state.ids.shape
    steps = torch.log_softmax(logits.float(), dim=-1)
    _constrain(steps, state.ids.flatten(0, 1), decoding, end_id)
    # At most one candidate per beam ends, so twice the beams leaves enough that go on.
    steps, tokens = steps.topk(min(2 * width, steps.shape[1]), dim=1)
    per_beam = steps.shape[1]
    best, place = (state.scores[:, :, None] + steps.view(count, running, per_beam)).flatten(1).topk(2 * width)
    beam, token = place // per_beam, tokens.view(count, -1).gather(1, place)
    ends = token == end_id
    candidates = _take(state.ids, beam)
    closing = (best / length).masked_fill(~ends | state.done[:, None], -torch.inf)[:, :width]
    state = _with_ended(state, closing, candidates[:, :width], end_id)
    scores, kept = best.masked_fill(ends, -torch.inf).topk(width, dim=1)
    ids = torch.cat((_take(candidates, kept), token.gather(1, kept)[:, :, None]), dim=2)
    done = state.done | (state.ended_scores[:, -1] >= best[:, 0] / length)
    first_rows = torch.arange(count, device=ids.device)[:, None] * running
    return state._replace(ids=ids, scores=scores, done=done), first_rows + beam.gather(1, kept)


def _with_ended(state: _Beams, scores: Tensor, ids: Tensor, end_id: int) -> _Beams:
    """Merge new ended captions ``(n, k, L)`` with earlier ones and keep the ``k`` best, the best first."""
    limit, width = state.ended_ids.shape[2], state.ended_scores.shape[1]
    padding = ids.new_full((*ids.shape[:2], limit - ids.shape[2]), end_id)
    all_ids = torch.cat((state.ended_ids, torch.cat((ids, padding), dim=2)), dim=1)
    best, kept = torch.cat((state.ended_scores, scores), dim=1).topk(width, dim=1)
    return state._replace(ended_scores=best, ended_ids=_take(all_ids, kept))


def _staying(done: Tensor, steps_left: int) -> Tensor | None:
    """The places ``(n',)`` of images that aren't done, or None while it doesn't pay to let the others leave.

    Leaving copies the keys and values of the images that stay. A step reads those of all images, and copying
    takes about as long as two such readings; so with half of the images done it pays after two steps.
    """
    if steps_left <= 2 or 2 * int(done.sum()) < len(done):
        return None
    return (~done).nonzero().squeeze(1)


def _take(ids: Tensor, index: Tensor) -> Tensor:
    """Of captions ``(n, m, L)`` the ones at ``index`` ``(n, m')``."""
    return ids.gather(1, index[:, :, None].expand(-1, -1, ids.shape[2]))


def _constrain(scores: Tensor, ids: Tensor, decoding: Decoding, end_id: int) -> None:
    """Within ``scores`` ``(R, V)`` penalise the tokens of ``ids`` ``(R, L)`` and forbid an early end."""
    penalty = decoding.repetition_penalty
    if penalty != 1.0:
        seen = scores.gather(1, ids)
        scores.scatter_(1, ids, torch.where(seen < 0, seen * penalty, seen / penalty))
    if ids.shape[1] < decoding.min_length:
        scores[:, end_id] = -torch.inf


def _likeliest(scores: Tensor, image: Tensor, length: int) -> Tensor:  # noqa: ARG001
    return scores.argmax(-1)


def _nucleus(prompt: Tensor, decoding: Decoding, generator: torch.Generator | None) -> Choice:
    """Draw from the fewest likeliest tokens that hold ``top_p`` of the mass (Holtzman et al. 2020, §3.1).

    The scores are divided by the temperature, cut to the ``top_k`` likeliest and then to their nucleus.
    """
    assert generator is not None, "nucleus sampling needs a generator"
    # Drawn on the CPU and at once: equal generators give equal captions on every device.
    draws = torch.rand(len(prompt), decoding.max_length, generator=generator).to(prompt.device)

    def choose(scores: Tensor, image: Tensor, length: int) -> Tensor:
        masses, order = nucleus(scores, decoding)
        reached = masses.cumsum(-1)
        # The last token that is left gets what rounding leaves over.
        last = (masses > 0).sum(-1, keepdim=True) - 1
        rank = torch.searchsorted(reached, draws[image, length, None], right=True)
        return order.gather(1, torch.minimum(rank, last)).squeeze(1)

    return choose


def nucleus(scores: Tensor, decoding: Decoding) -> tuple[Tensor, Tensor]:
    """What nucleus sampling draws from.

    Args:
        scores: ``(R, V)`` logits.
        decoding: temperature, ``top_k`` and ``top_p``.

    Returns:
        Probabilities ``(R, V')`` in descending order, zero outside the nucleus, and the tokens ``(R, V')``
        they belong to; ``V'`` is at most ``top_k``.
    """
    scores = scores.float() / decoding.temperature
    if decoding.top_k is not None:
        scores, order = scores.topk(min(decoding.top_k, scores.shape[1]))
        masses = torch.softmax(scores, dim=-1)
    else:
        masses, order = _likeliest_first(torch.softmax(scores, dim=-1), decoding.top_p)
    masses = masses.masked_fill(masses.cumsum(-1) - masses >= decoding.top_p, 0.0)
    return masses / masses.sum(-1, keepdim=True), order


def _likeliest_first(masses: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Sort probabilities ``(R, V)`` from the greatest down, in all or as far as each row's nucleus goes."""
    head = masses.topk(min(USUAL_NUCLEUS, masses.shape[1]))
    if top_p < 1 and bool((head.values.sum(-1) > top_p).all()):
        return head.values, head.indices
    values, indices = masses.sort(dim=-1, descending=True)
    return values, indices


def _cut(ids: Tensor, start: int, end_id: int) -> list[list[int]]:
    """Each row up to its first end behind the prompt of ``start`` tokens."""
    rows = ids.tolist()
    return [row[: row.index(end_id, start)] if end_id in row[start:] else row for row in rows]
