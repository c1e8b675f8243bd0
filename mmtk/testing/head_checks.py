"""What heads, samplers of negatives and momentum encoders promise."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from mmtk.kinds import CaptioningHead, ForwardContext, MatchingHead, NegativeSampler
from mmtk.testing.promise import promise, promise_tensor, under_two_seeds
from mmtk.testing.tiny import tiny_batch, tiny_context, tiny_state
from mmtk.types import Batch, Decoding, HeadOutput, Negatives, Similarities


def check_head(head: Any, model: Any, batch: Batch | None = None) -> None:
    """A finite loss with gradients, figures without, all drawn from the state alone; and what it says it can.

    What other heads read of the context is as it was.

    Args:
        head: built on ``model``; both are in evaluation mode afterwards.
        model: ``tiny_model(folder)``, or whichever the head needs.
        batch: what to look at; None takes ``tiny_batch(5)``, in which two pairs show one image.
    """
    promise(isinstance(head, nn.Module), head, "is no nn.Module")
    batch = batch or tiny_batch(5)
    model.eval()
    head.eval()
    _promise_unchanged(head, tiny_context(model, batch))
    first, second = under_two_seeds(lambda: head(tiny_context(model, batch)))
    output = _promise_output(head, first)
    promise(
        torch.equal(output.loss, second.loss),
        head,
        "the loss depends on the global generator: draw from context.state.generator(…)",
    )
    for part in head.modules():
        if hasattr(part, "before_step"):
            part.before_step(tiny_state())
    _promise_gradients(head, model, batch)
    alone = _promise_output(head, head(tiny_context(model, _first(batch, 1))))
    promise(bool(torch.isfinite(alone.loss)), head, "the loss of a batch of one pair isn't finite")
    if hasattr(head, "terms"):
        terms = head.terms(tiny_context(model, batch))
        promise(isinstance(terms, int) and terms >= 0, head, f"terms(context) is {terms!r} and no count")
    if hasattr(head, "chance_loss"):
        promise(head.chance_loss > 0, head, f"chance_loss is {head.chance_loss!r}")
    with torch.no_grad():
        _promise_abilities(head, model, batch)


def _promise_output(head: Any, output: Any) -> HeadOutput:
    promise(isinstance(output, HeadOutput), head, f"returns {type(output).__name__} and no HeadOutput")
    promise_tensor(output.loss, head, "the loss", (), torch.float32)
    for name, value in output.metrics.items():
        promise(
            isinstance(value, Tensor) and value.ndim == 0, head, f"the figure '{name}' is no scalar tensor"
        )
        promise(not value.requires_grad, head, f"the figure '{name}' isn't detached")
    result: HeadOutput = output
    return result


def _promise_unchanged(head: Any, context: ForwardContext) -> None:
    """What the heads share has its values afterwards; all of it is computed before the head is called."""
    before = {name: tensor.detach().clone() for name, tensor in _shared(context).items()}
    head(context)
    for name, tensor in _shared(context).items():
        same = torch.equal(tensor, before[name])
        promise(same, head, f"changes context.{name}, which other heads read too: make a tensor of your own")


def _shared(context: ForwardContext) -> dict[str, Tensor]:
    """The tensors that all heads read, by their places in the context."""
    names = {
        "batch": ("images", "image_ids"),
        "image": ("embeds", "features"),
        "text": ("ids", "mask", "features"),
        "similarities": Similarities._fields,
    }
    found = {
        f"{part}.{name}": getattr(getattr(context, part), name) for part in names for name in names[part]
    }
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def _promise_gradients(head: Any, model: Any, batch: Batch) -> None:
    """The head's own parameters have gradients, and something of the model."""
    both = nn.ModuleList([model, head])
    both.zero_grad(set_to_none=True)
    loss = head(tiny_context(model, batch)).loss
    promise(loss.requires_grad, head, "the loss has no gradient")
    loss.backward()
    for name, parameter in head.named_parameters():
        if parameter.requires_grad:
            promise(parameter.grad is not None, head, f"no gradient reaches its parameter '{name}'")
    reached = [parameter.grad for parameter in both.parameters() if parameter.grad is not None]
    promise(any(bool(one.any()) for one in reached), head, "the loss has no gradient other than zero")
    finite = all(bool(torch.isfinite(one).all()) for one in reached)
    promise(finite, head, "a gradient isn't finite")
    both.zero_grad(set_to_none=True)


def _promise_abilities(head: Any, model: Any, batch: Batch) -> None:
    images = model.encode_images(batch.images)
    if isinstance(head, MatchingHead):
        texts = model.encode_texts(batch.texts)
        logits = head.match_logits(images, texts)
        promise_tensor(logits, head, "match_logits", (len(batch), 2), torch.float32)
        index = torch.arange(len(batch) - 1, -1, -1)
        turned = head.match_logits(images.select(index), texts.select(index))
        close = torch.allclose(turned, logits[index], rtol=1e-4, atol=1e-5)
        promise(close, head, "match_logits of a pair depend on its place in the batch")
    if isinstance(head, CaptioningHead):
        decoding = Decoding(beams=2, min_length=1, max_length=6)
        captions = head.generate(images, decoding)
        texts_only = all(isinstance(one, str) for one in captions)
        promise(texts_only and len(captions) == len(batch), head, f"generate gives {captions!r}")
        promise(
            captions == head.generate(images, decoding), head, "beam search writes another caption each time"
        )


def _first(batch: Batch, count: int) -> Batch:
    return Batch(batch.images[:count], batch.texts[:count], batch.image_ids[:count], batch.keys[:count])


def check_negatives(sampler: NegativeSampler) -> None:
    """Columns that exist and don't match, by the generator alone, also where logits are extreme."""
    if hasattr(sampler, "before_step"):
        sampler.before_step(tiny_state())
    cases = {
        "random logits": torch.randn(6, 6, generator=torch.Generator().manual_seed(0)),
        "further columns of other ranks": torch.randn(6, 11, generator=torch.Generator().manual_seed(1)),
        "logits of ±1000": 1000 * torch.eye(6) - 500,
        "equal logits": torch.zeros(6, 6),
    }
    for name, logits in cases.items():
        rows, columns = logits.shape
        matching = torch.zeros(rows, columns, dtype=torch.bool)
        matching.fill_diagonal_(True)
        matching[0, 1] = matching[1, 0] = True
        for seed in range(20):
            drawn = _draw(sampler, logits, matching, seed)
            for what, chosen in zip(Negatives._fields, drawn, strict=True):
                promise_tensor(chosen, sampler, f"{what} of {name}", (rows,), torch.int64)
                inside = bool(((chosen >= 0) & (chosen < columns)).all())
                promise(inside, sampler, f"{what} of {name}: columns outside 0 to {columns - 1}")
                wrong = matching[torch.arange(rows), chosen].nonzero().flatten().tolist()
                where = ", ".join(f"row {row} drew column {int(chosen[row])}" for row in wrong)
                promise(not wrong, sampler, f"{what} of {name} holds pairs that match: {where}")
    logits, matching = cases["random logits"], torch.eye(6, dtype=torch.bool)
    first, second = under_two_seeds(lambda: _draw(sampler, logits, matching, 0))
    for one, other in zip(first, second, strict=True):
        promise(torch.equal(one, other), sampler, "equal generators give other draws")
    everything = _draw(sampler, logits, torch.ones(6, 6, dtype=torch.bool), 0)
    for what, chosen in zip(Negatives._fields, everything, strict=True):
        promise_tensor(chosen, sampler, f"{what} where all pairs match", (6,), torch.int64)
        inside = bool(((chosen >= 0) & (chosen < 6)).all())
        promise(inside, sampler, f"{what} where all pairs match: columns that don't exist")


def _draw(sampler: NegativeSampler, logits: Tensor, matching: Tensor, seed: int) -> Negatives:
    """Draw, and look that what the sampler was given is as it was."""
    given = logits.clone(), matching.clone()
    drawn = sampler(logits, logits, matching, torch.Generator().manual_seed(seed))
    unchanged = torch.equal(logits, given[0]) and torch.equal(matching, given[1])
    promise(unchanged, sampler, "changes the logits or the mask that it is given")
    promise(isinstance(drawn, Negatives), sampler, f"returns {type(drawn).__name__} and no Negatives")
    return drawn


def check_momentum(momentum: Any, model: Any) -> None:
    """A frozen slow copy that follows the model, keys without gradient, queues that a state dict brings back.

    Args:
        momentum: newly built on ``model``.
        model: its weights are other ones afterwards.
    """
    promise(isinstance(momentum, nn.Module), momentum, "is no nn.Module")
    trained = [name for name, one in momentum.named_parameters() if one.requires_grad]
    promise(not trained, momentum, f"has parameters with a gradient: {', '.join(trained[:3])}")
    momentum.train()
    promise(not momentum.twin.training, momentum, "its twin isn't in evaluation mode after train()")
    mine = {one.data_ptr() for one in model.parameters()}
    own = all(one.data_ptr() not in mine for one in momentum.twin.parameters())
    promise(own, momentum, "its twin shares parameters with the model")
    before = copy.deepcopy(momentum.state_dict())
    keys = _keys(momentum, model, 0)
    _promise_same_state(momentum, before, "keys(…) changes its state")
    for name in ("image_features", "text_features"):
        rows = promise_tensor(getattr(keys, name), momentum, name, (4, None), torch.float32)
        promise(not rows.requires_grad, momentum, f"{name} have a gradient")
        promise(torch.allclose(rows.norm(dim=1), torch.ones(4), atol=1e-4), momentum, f"{name}: norm not 1")
    _promise_follows(momentum, model)
    for number in range(2):
        momentum.after_step([tiny_context(model, tiny_batch(4, seed=number), momentum=momentum)])
    keys = _keys(momentum, model, 2)
    lengths = {name: len(getattr(keys, name)) for name in keys._fields if name.startswith("queued_")}
    promise(len(set(lengths.values())) == 1, momentum, f"its queues have different lengths: {lengths}")
    other = copy.deepcopy(momentum)
    other.load_state_dict(before)
    other.load_state_dict(momentum.state_dict())
    again = _keys(other, model, 2)
    same = all(torch.equal(one, two) for one, two in zip(keys[:6], again[:6], strict=True))
    promise(same, momentum, "gives other keys after its state dict was stored and loaded")


def _keys(momentum: Any, model: Any, seed: int) -> Any:
    batch = tiny_batch(4, seed=seed)
    return momentum.keys(batch, tiny_context(model, batch).text)


def _promise_same_state(momentum: Any, before: dict[str, Any], broken: str) -> None:
    now = momentum.state_dict()
    same = now.keys() == before.keys() and all(torch.equal(now[name], one) for name, one in before.items())
    promise(same, momentum, broken)


@torch.no_grad()
def _promise_follows(momentum: Any, model: Any) -> None:
    """Steps bring the slow copy no further away from towers that have moved, and some of them nearer."""
    towers = model.feature_towers()
    for parameter in towers.parameters():
        parameter.add_(0.1)
    apart = [_distance(momentum, towers)]
    for step in range(20):
        momentum.before_step(tiny_state(step))
        apart.append(_distance(momentum, towers))
    closer = apart[-1] < apart[0] and all(b <= a * (1 + 1e-6) for a, b in pairwise(apart))
    promise(
        closer,
        momentum,
        f"before_step doesn't move the twin towards the model: {apart[0]:g} to {apart[-1]:g}",
    )


def _distance(momentum: Any, towers: nn.Module) -> float:
    pairs = zip(momentum.twin.parameters(), towers.parameters(), strict=True)
    return sum(float((slow - fast).abs().sum()) for slow, fast in pairs)
