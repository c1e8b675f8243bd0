"""What the kinds that a model is made of promise."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmtk.kinds import ImageEncoder, Loss, Tokenizer
from mmtk.testing.promise import (
    BrokenPromiseError,
    own_random_state,
    promise,
    promise_tensor,
    under_two_seeds,
)
from mmtk.testing.tiny import IMAGE_SIZE, TEXTS, tiny_batch, tiny_state


def check_image_encoder(encoder: ImageEncoder, image_size: int | None = None) -> None:
    """Tokens of the right shape, each image's own whatever the batch, with gradients.

    Args:
        encoder: built; its mode is evaluation afterwards.
        image_size: edge of the pictures to try; None takes its ``image_size``, or 32 where it has none.
    """
    module = _module(encoder)
    own: int = getattr(encoder, "image_size", IMAGE_SIZE)
    size = image_size or own
    images = tiny_batch(3, image_size=size).images
    module.eval()
    tokens = promise_tensor(encoder(images), encoder, "the tokens", (3, None, encoder.width), torch.float32)
    again = encoder(images)
    promise(torch.equal(tokens, again), encoder, "the same images give other tokens in evaluation mode")
    alone = torch.cat([encoder(images[place : place + 1]) for place in range(3)])
    promise(_close(tokens, alone), encoder, "an image's tokens depend on its batch")
    promise(not torch.allclose(tokens[0], tokens[1]), encoder, "two different images give equal tokens")
    if hasattr(encoder, "grid"):
        rows, columns = encoder.grid(images)
        expected = tokens.shape[1] - 1
        promise(
            rows * columns == expected,
            encoder,
            f"grid(images) is {rows} by {columns}, and there are {expected} tokens behind the first",
        )
    (tokens * torch.linspace(-1, 1, tokens[0].numel()).view(tokens.shape[1:])).sum().backward()
    _promise_gradient(module, "the tokens")
    check_weights_survive(module)


def check_text_encoder(encoder: Any) -> None:
    """Weights that are finite, trained, copied and stored. What else it does is a matter of its model's."""
    module = _module(encoder)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    promise(bool(trained), encoder, "has no parameter to train")
    for name, tensor in module.state_dict().items():
        promise(
            bool(torch.isfinite(tensor).all()), encoder, f"'{name}' starts with values that aren't finite"
        )
    check_weights_survive(module)


def check_weights_survive(module: nn.Module) -> None:
    """A deep copy has equal weights of its own, and takes those of a state dict."""
    twin = copy.deepcopy(module)
    state, own = module.state_dict(), twin.state_dict()
    promise(state.keys() == own.keys(), module, "a deep copy's state dict has other names")
    for name, tensor in state.items():
        promise(torch.equal(tensor, own[name]), module, f"a deep copy has another '{name}'")
    for mine, its in zip(module.parameters(), twin.parameters(), strict=True):
        promise(mine.data_ptr() != its.data_ptr(), module, "a deep copy shares a parameter with the original")
    twin.load_state_dict(state)


def check_tokenizer(tokenizer: Tokenizer, folder: Path, texts: Sequence[str] = TEXTS) -> None:
    """Ids and mask of the right shape, special ids in their places, and words that come back.

    Args:
        tokenizer: built.
        folder: empty; ``save`` writes there.
        texts: at least two, of different lengths, in words that it knows.
    """
    special = {
        name: getattr(tokenizer, name)
        for name in ("pad_id", "start_id", "encode_id", "decode_id", "end_id", "mask_id")
        if getattr(tokenizer, name) is not None
    }
    outside = [name for name, value in special.items() if not 0 <= value < tokenizer.vocab_size]
    promise(not outside, tokenizer, f"{', '.join(outside)} outside 0 to {tokenizer.vocab_size - 1}")
    ids, mask = _rows(tokenizer, texts, end=True)
    prompt, prompt_mask = _rows(tokenizer, texts, end=False)
    longest = int(mask.sum(1).max())
    promise(
        ids.shape[1] == longest, tokenizer, f"rows of {ids.shape[1]} ids where the longest text has {longest}"
    )
    for place, text in enumerate(texts):
        row = ids[place][mask[place]].tolist()
        who = f"the ids of {text!r}"
        promise(row[0] == tokenizer.start_id, tokenizer, f"{who} start with {row[0]}, not with start_id")
        promise(row[-1] == tokenizer.end_id, tokenizer, f"{who} end with {row[-1]}, not with end_id")
        without = prompt[place][prompt_mask[place]].tolist()
        promise(without == row[:-1], tokenizer, f"end=False gives {without} for {text!r}, not {row[:-1]}")
        alone, _ = tokenizer([text])
        promise(alone[0].tolist() == row, tokenizer, f"{who} depend on the texts beside it")
        words = tokenizer.decode(row)
        back, _ = tokenizer([words])
        promise(back[0].tolist() == row, tokenizer, f"{text!r} comes back from decode as {words!r}")
        if hasattr(tokenizer, "words"):
            _promise_words(tokenizer, text, len(row))
    tokenizer.save(folder)
    promise(any(folder.iterdir()), tokenizer, f"save wrote nothing into {folder.name}")


def _rows(tokenizer: Tokenizer, texts: Sequence[str], *, end: bool) -> tuple[Tensor, Tensor]:
    """Ids and mask ``(T, L)``, padded on the right."""
    ids, mask = tokenizer(texts, end=end)
    promise_tensor(ids, tokenizer, "ids", (len(texts), None), torch.int64)
    promise_tensor(mask, tokenizer, "mask", tuple(ids.shape), torch.bool)
    right = mask.long().diff(dim=1).le(0).all() and mask[:, 0].all()
    promise(bool(right), tokenizer, "padding isn't on the right: a masked id stands before a real one")
    promise(bool((ids[~mask] == tokenizer.pad_id).all()), tokenizer, "masked ids are not pad_id")
    promise(bool((ids[mask] < tokenizer.vocab_size).all()), tokenizer, "ids of vocab_size or more")
    return ids, mask


def _promise_words(tokenizer: Any, text: str, length: int) -> None:
    for word, places in tokenizer.words(text):
        inside = all(0 < place < length for place in places)
        promise(inside and bool(places), tokenizer, f"words({text!r}) puts {word!r} at {list(places)}")
        promise(word in text, tokenizer, f"words({text!r}) spells a word {word!r}, which isn't in the text")


def check_loss(loss: Loss, logits: Tensor | None = None, targets: Tensor | None = None) -> None:
    """A finite scalar with a gradient, the same each time, that leaves what it was given alone.

    Args:
        loss: built.
        logits: ``(R, K)``; random ones where there are none.
        targets: what goes with them; None gives class indices ``(R,)`` int64.
    """
    logits = _random_logits(5, 7) if logits is None else logits
    targets = torch.arange(len(logits)) % logits.shape[1] if targets is None else targets
    given = logits.clone(), targets.clone()
    asked = logits.detach().clone().requires_grad_()
    value = promise_tensor(loss(asked, targets), loss, "the loss", (), torch.float32)
    value.backward()
    promise(asked.grad is not None, loss, "no gradient reaches the logits")
    promise_tensor(asked.grad, loss, "the gradient of the logits", tuple(logits.shape), logits.dtype)
    promise(bool(asked.grad.any()), loss, "the gradient of random logits is zero")  # type: ignore[union-attr]
    loss(logits, targets)
    unchanged = torch.equal(logits, given[0]) and torch.equal(targets, given[1])
    promise(unchanged, loss, "changes the logits or the targets that it is given")
    first, second = under_two_seeds(lambda: loss(logits, targets))
    promise(torch.equal(first, second), loss, "the same logits and targets give another loss")
    half = promise_tensor(loss(logits.bfloat16(), targets), loss, "the loss of bfloat16", (), torch.float32)
    close = torch.allclose(half, first, rtol=0.05, atol=0.05)
    promise(close, loss, f"is {float(half):g} of bfloat16 logits and {float(first):g} of float32 ones")


def check_model(model: Any) -> None:
    """Encodings and towers as heads and inference use them; leaves the model in evaluation mode."""
    module = _module(model).eval()
    batch = tiny_batch(3)
    with torch.no_grad():
        images, texts = model.encode_images(batch.images), model.encode_texts(batch.texts)
        embeds = promise_tensor(images.embeds, model, "image embeds", (3, None, None), torch.float32)
        features = promise_tensor(images.features, model, "image features", (3, None), torch.float32)
        joint = tuple(features.shape)
        written = promise_tensor(texts.features, model, "text features", joint, torch.float32)
        for what, rows in (("image", features), ("text", written)):
            unit = torch.allclose(rows.norm(dim=1), torch.ones(3), atol=1e-4)
            promise(unit, model, f"{what} features haven't the norm 1")
        index = torch.tensor([2, 0, 2, 1])
        for what, encoding in (("image", images), ("text", texts)):
            promise(len(encoding) == 3, model, f"an {what} encoding of 3 has the length {len(encoding)}")
            chosen = encoding.select(index)
            same = _close(chosen.features, encoding.features[index])
            promise(same and len(chosen) == 4, model, f"select gives other {what} features")
        promise(torch.equal(images.select(index).embeds, embeds[index]), model, "select gives other embeds")
        towers = model.feature_towers()
        seen, read, *_ = towers(batch.images, texts.ids, texts.mask)
        promise(_close(seen, features), model, "its towers give other image features")
        promise(_close(read, written), model, "its towers give other text features")
        promise(joint[1] == towers.embed_dim, model, f"embed_dim {towers.embed_dim}, features of {joint[1]}")
    mine = {parameter.data_ptr() for parameter in module.parameters()}
    shared = all(parameter.data_ptr() in mine for parameter in towers.parameters())
    promise(shared, model, "feature_towers() has parameters that aren't the model's")
    context = model.context(batch, tiny_state())
    for name in ("image", "text", "similarities"):
        first, second = getattr(context, name), getattr(context, name)
        promise(first is second, model, f"the context computes '{name}' anew each time it is read")
    matching = promise_tensor(context.similarities.matching, model, "matching", (3, None), torch.bool)
    promise(bool(matching.diagonal().all()), model, "matching: a pair doesn't match itself")


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def _module(component: Any) -> nn.Module:
    promise(isinstance(component, nn.Module), component, "is no nn.Module")
    module: nn.Module = component
    return module


def _promise_gradient(module: nn.Module, what: str) -> None:
    """Every trained parameter has a finite gradient."""
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            raise BrokenPromiseError(f"{type(module).__name__}: no gradient of {what} reaches '{name}'")
        finite = bool(torch.isfinite(parameter.grad).all())
        promise(finite, module, f"the gradient of {what} at '{name}' isn't finite")
        parameter.grad = None


def _random_logits(rows: int, columns: int) -> Tensor:
    with own_random_state(0):
        return torch.randn(rows, columns)
