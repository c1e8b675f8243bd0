"""The image-grounded decoder for writing: a step at a time, with what earlier steps computed kept.

It computes what ``TextTransformer.decode`` does, without dropout and gradients. Shapes: ``R`` rows (texts),
``B`` images, ``L`` new tokens, ``D`` width, ``H`` heads, ``d = D / H``, ``V`` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mmtk_blip.attention import CrossAttention, KeysValues, SelfAttention
from mmtk_blip.layers import FeedForward, WordPrediction
from mmtk_blip.prepacked import Linear, prepacked
from mmtk_blip.text_transformer import TextTransformer


class StepLayer:
    """One decoder layer with its weights prepacked."""

    def __init__(self, own: SelfAttention, cross: CrossAttention, forward: FeedForward) -> None:
        self.heads = own.heads
        self._own_norm, self._cross_norm, self._last_norm = own.norm, cross.norm, forward.norm
        self._query_key_value = _beside(own.query, own.key, own.value)
        self._own_output = prepacked(own.output.weight, own.output.bias)
        self._cross_query = prepacked(cross.query.weight, cross.query.bias)
        self._cross_output = prepacked(cross.output.weight, cross.output.bias)
        self._expand = prepacked(forward.expand.weight, forward.expand.bias)
        self._contract = prepacked(forward.contract.weight, forward.contract.bias)

    def __call__(
        self, states: Tensor, past: Tensor, start: int, image: KeysValues, image_mask: Tensor | None
    ) -> Tensor:
        """New tokens' states ``(R, L, D)`` to the next layer's, ``(R, L, D)``.

        Args:
            states: of the tokens from place ``start`` on. ``L`` is 1 unless ``start`` is 0.
            past: ``(start + L, 2, R, H, d)``, keys and values; those of the new tokens are written into it.
            start: how many tokens were decoded before.
            image: keys and values with ``B`` rows, each for ``R / B`` consecutive rows of ``states``.
            image_mask: bool, broadcastable to ``(B, H, L, tokens)``, which tokens of ``image`` are real.
        """
        rows, length, width = states.shape
        new = self._query_key_value(states).view(rows, length, 3, self.heads, -1)
        past[start:] = new[:, :, 1:].permute(1, 2, 0, 3, 4)
        keys, values = past.permute(1, 2, 3, 0, 4).unbind(0)
        query = new[:, :, 0].transpose(1, 2)
        mixed = F.scaled_dot_product_attention(query, keys, values, is_causal=length > 1)
        mixed = mixed.transpose(1, 2).reshape(rows, length, width)
        states = self._own_norm(self._own_output(mixed) + states)

        # The rows of one image ask together, so that its keys and values are read once.
        query = self._cross_query(states).view(len(image.keys), -1, self.heads, width // self.heads)
        mixed = F.scaled_dot_product_attention(query.transpose(1, 2), image.keys, image.values, image_mask)
        mixed = mixed.transpose(1, 2).reshape(rows, length, width)
        states = self._cross_norm(self._cross_output(mixed) + states)
        return self._last_norm(self._contract(F.gelu(self._expand(states))) + states)


def _beside(*layers: nn.Linear) -> Linear:
    """Several layers over one input as one, with their outputs side by side."""
    weights, biases = zip(*((layer.weight, layer.bias) for layer in layers), strict=True)
    return prepacked(torch.cat(weights), torch.cat(biases))


class StepWeights:
    """Everything of the decoder that doesn't depend on images and texts."""

    def __init__(self, transformer: TextTransformer, prediction: WordPrediction) -> None:
        self.layers = [StepLayer(*blocks) for blocks in transformer.decoder_blocks()]
        self.embeddings = transformer.decoder_embeddings or transformer.embeddings
        self._dense = prepacked(prediction.dense.weight, prediction.dense.bias)
        self._norm = prediction.norm
        self._words = prepacked(transformer.output_embeddings, prediction.bias)

    def logits(self, states: Tensor) -> Tensor:
        """States ``(R, D)`` to logits ``(R, V)``."""
        return self._words(self._norm(F.gelu(self._dense(states))))


_made: WeakKeyDictionary[WordPrediction, tuple[object, StepWeights]] = WeakKeyDictionary()


def step_weights(transformer: TextTransformer, prediction: WordPrediction) -> StepWeights:
    """The decoder's weights as they are now; those of the last call for ``prediction`` if they are the same.

    Both modules are in evaluation mode. Prepacking takes about as long as four steps, and as much memory as
    the weights, until ``prediction`` is gone.
    """
    state = _state(transformer, prediction)
    known, weights = _made.get(prediction, (None, None))
    if weights is None or known != state:
        weights = StepWeights(transformer, prediction)
        _made[prediction] = state, weights
    return weights


def _state(*modules: nn.Module) -> object:
    """Differs when a parameter was changed in place or replaced.

    A few values of each are looked at as well, since changes of ``parameter.data`` aren't counted.
    """
    parameters = [parameter for module in modules for parameter in module.parameters()]
    values = torch.stack([parameter.detach().flatten()[:16].sum() for parameter in parameters]).tolist()
    counts = [0 if parameter.is_inference() else parameter._version for parameter in parameters]
    return values, counts, [parameter.data_ptr() for parameter in parameters]


class CachedDecoder:
    """Decodes step by step; ``generation.StepDecoder``.

    Args:
        weights: the decoder's.
        image: per layer keys and values with ``B`` rows; every image is read by as many rows as any other.
        max_length: the most tokens a row is going to have.
        image_mask: ``(B, tokens)`` bool, which tokens of ``image`` are real; None if all are.
    """

    def __init__(
        self,
        weights: StepWeights,
        image: Sequence[KeysValues],
        max_length: int,
        image_mask: Tensor | None = None,
    ) -> None:
        self._weights = weights
        self._image = image
        self._mask = None if image_mask is None else image_mask[:, None, None, :]
        self._max_length = max_length
        self._length = 0
        self._past = self._room(len(image[0].keys))

    def advance(self, ids: Tensor) -> Tensor:
        """Take the next tokens ``(R, L)`` and return the logits ``(R, V)`` of the one after them."""
        assert self._length == 0 or ids.shape[1] == 1, "after the prompt, one token at a time"
        start, self._length = self._length, self._length + ids.shape[1]
        states = self._weights.embeddings(ids, offset=start)
        for index, (layer, image) in enumerate(zip(self._weights.layers, self._image, strict=True)):
            states = layer(states, self._past[: self._length, index], start, image, self._mask)
        return self._weights.logits(states[:, -1])

    def select(self, rows: Tensor, images: Tensor | None = None) -> None:
        """Go on with the remembered ``rows`` ``(R',)`` and, where given, with ``images`` ``(B',)`` alone."""
        past, self._past = self._past, self._room(len(rows))
        torch.index_select(past[: self._length], 3, rows, out=self._past[: self._length])
        if images is not None:
            self._image = [layer.select(images) for layer in self._image]
            self._mask = None if self._mask is None else self._mask.index_select(0, images)

    def _room(self, rows: int) -> Tensor:
        """Uninitialised keys and values ``(max_length, layers, 2, R, H, d)``."""
        heads, head_width = self._image[0].keys.shape[1], self._image[0].keys.shape[3]
        shape = (self._max_length, len(self._image), 2, rows, heads, head_width)
        return self._image[0].keys.new_empty(shape)
