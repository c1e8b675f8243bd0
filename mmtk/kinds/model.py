"""The kinds that a model is made of and trained by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mmtk.types import Batch, Decoding, HeadOutput, MomentumKeys, Negatives, Similarities, StepState, TextMaps

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class ImageEncoder(Protocol):
    """Images to tokens. Also an ``nn.Module``.

    One that takes pictures of a single size has an attribute ``image_size``, their edge in pixels. One whose
    tokens behind the first are a grid, row by row, says its size: ``grid(images)`` returns rows and columns.
    """

    width: int

    def __call__(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to ``(B, N, width)``; token 0 stands for the whole image."""


class Tokenizer(Protocol):
    """Words to ids and back. Padding is on the right, to the longest text given.

    It may have a method ``words(text)``: of each word that it keeps, in order, the word as the text spells it
    and the places of its pieces in a row of ids.
    """

    vocab_size: int
    pad_id: int
    start_id: int  # [CLS]: the text encoder's first token
    encode_id: int  # [ENC]: the image-grounded encoder's first token
    decode_id: int  # [DEC]: the decoder's first token
    end_id: int  # [SEP]
    mask_id: int | None  # [MASK], which masked language modelling writes over words; None without one

    def __call__(self, texts: Sequence[str], *, end: bool = True) -> tuple[Tensor, Tensor]:
        """Return ids ``(T, L)`` int64 and mask ``(T, L)`` bool. ``end=False`` omits ``[SEP]``: a prompt."""

    def decode(self, ids: Iterable[int]) -> str:
        """Text of one sequence, special tokens left out."""

    def save(self, folder: Any) -> None:
        """Write what ``load``ing needs into ``folder``."""


class ImageEncoding(Protocol):
    """Images as a model holds them; what is derived from them is computed once, when first asked for."""

    @property
    def embeds(self) -> Tensor:
        """``(B, N, D)``."""

    @property
    def features(self) -> Tensor:
        """``(B, E)``, unit norm."""

    def __len__(self) -> int: ...

    def select(self, index: Tensor) -> ImageEncoding:
        """The images at ``index`` ``(T,)`` int64, may repeat; what is computed already is indexed."""


class TextEncoding(Protocol):
    """Texts as a model holds them."""

    ids: Tensor  # (T, L) int64, starts with [CLS]
    mask: Tensor  # (T, L) bool

    @property
    def features(self) -> Tensor:
        """``(T, E)``, unit norm."""

    def __len__(self) -> int: ...

    def select(self, index: Tensor) -> TextEncoding: ...


class Model(Protocol):
    """A vision-language model that heads read from. Also an ``nn.Module``."""

    tokenizer: Tokenizer

    def context(self, batch: Batch, state: StepState, momentum: Momentum | None = None) -> ForwardContext: ...

    def encode_images(self, images: Tensor) -> ImageEncoding:
        """``(B, 3, H, W)`` to an encoding."""

    def encode_texts(self, texts: Sequence[str]) -> TextEncoding: ...

    def feature_towers(self) -> nn.Module:
        """The part whose features ITC compares, as a module that shares the model's parameters.

        Called with images ``(B, 3, H, W)``, ids ``(B, L)`` and mask ``(B, L)``, it returns the two unit-norm
        features ``(B, E)``; its ``embed_dim`` is ``E``. A momentum encoder keeps a moving average of a deep
        copy of it. Where heads ask the slow copy for more than features, it returns its image tokens
        ``(B, N, D)`` as a third value, for ``MomentumKeys.image_embeds``.

        A model may also have a method ``stacked_layers()``: the modules that make up most of it, from first
        to last, each called whole and no one inside another. Strategies shard it by them, and activations
        are recomputed by them. What a module offers beside ``forward`` its attribute ``forward_methods``
        names, a tuple of strings.
        """


class ForwardContext(Protocol):
    """What the heads share of one batch. Each attribute is computed once, when a head first reads it.

    It may have a method ``release()``: the engine calls it after the backward pass, and what takes memory and
    isn't needed for ``Momentum.after_step`` is then dropped.
    """

    batch: Batch
    state: StepState
    model: Any

    @property
    def image(self) -> ImageEncoding: ...

    @property
    def text(self) -> TextEncoding: ...

    @property
    def momentum(self) -> Momentum | None: ...

    @property
    def momentum_keys(self) -> MomentumKeys | None: ...

    @property
    def similarities(self) -> Similarities: ...


class Head(Protocol):
    """A training objective. Also an ``nn.Module``; built with ``model``.

    A step may accumulate several batches. They are weighted by their sizes, or by ``terms(context)``, an int,
    where a head has this method: over how many terms of equal weight its loss will be the mean.
    """

    def __call__(self, context: ForwardContext) -> HeadOutput: ...


@runtime_checkable
class MatchingHead(Protocol):
    """A head that can say whether image and text belong together (ITM)."""

    def match_logits(self, images: ImageEncoding, texts: TextEncoding) -> Tensor:
        """``(T, 2)`` logits of [no match, match], pair by pair; both arguments have ``T`` rows."""


@runtime_checkable
class WordMappingHead(Protocol):
    """A head that can say where in a picture it sees each word of a text (Grad-CAM)."""

    def word_maps(
        self, model: Any, images: Tensor, texts: Sequence[str], layer: int | None = None
    ) -> list[TextMaps]:
        """Map the words of each text over its own picture; the learner is in evaluation mode.

        Args:
            model: the learner's, which the head was built on.
            images: ``(T, 3, H, W)``, a picture for each text.
            texts: ``T`` cleaned texts.
            layer: which one to look at; what the numbers mean the head says. None is the head's choice.

        Raises:
            CheckpointError: the model can't be looked into.
            RecipeError: there is no such layer.
        """


@runtime_checkable
class CaptioningHead(Protocol):
    """A head that can write captions (LM)."""

    def generate(
        self, images: ImageEncoding, decoding: Decoding, generator: torch.Generator | None = None
    ) -> list[str]:
        """One caption per image. ``generator`` is needed by methods that sample."""


class Loss(Protocol):
    """A loss as a function of logits and targets; which ones, its head says."""

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor: ...


class Momentum(Protocol):
    """A slow copy of the model's feature towers, with queues. Also an ``nn.Module``; built with ``model``.

    The engine calls ``before_step``, the forward passes, the optimizer and ``after_step``, in that order,
    once per optimizer step. ``keys`` changes no state.

    Attributes:
        twin: the slow copy of ``feature_towers()``, without gradient and in evaluation mode, with whatever
            methods the model gave its towers.
    """

    twin: nn.Module

    def before_step(self, state: StepState) -> None:
        """Move the slow copy towards the online towers."""

    def keys(self, batch: Batch, text: TextEncoding) -> MomentumKeys: ...

    def after_step(self, contexts: Sequence[ForwardContext]) -> None:
        """Push the step's features into the queues."""


class NegativeSampler(Protocol):
    """Draws hard negatives for ITM.

    One that is an ``nn.Module`` is part of the head that holds it: its buffers are saved, and a method
    ``before_step(state)`` is called before each optimizer step, with the step, the epoch and how many there
    will be.
    """

    def __call__(
        self, text_to_image: Tensor, image_to_text: Tensor, matching: Tensor, generator: torch.Generator
    ) -> Negatives:
        """Draw one negative per row.

        Args:
            text_to_image: ``(B, K)`` logits, detached: ``K = B`` within the batch, more with other ranks'
                batches behind it. Row ``i`` and column ``i`` are one pair.
            image_to_text: ``(B, K)``, likewise.
            matching: ``(B, K)`` bool with a true diagonal; marked pairs are no negatives of each other.
            generator: CPU generator; equal generators give equal draws.
        """
