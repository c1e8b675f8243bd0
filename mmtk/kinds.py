"""What each kind of component must be able to do.

A factory is called with the fields of its config and, as further keywords, with the values that its
kind injects (see ``KINDS``). Slots of a config arrive as ``Blueprint`` objects, so that the factory
itself decides when to build them and with which injected values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, runtime_checkable

from mmtk.candidates import CapfiltStep, Executor
from mmtk.types import (
    Batch,
    Decoding,
    ExportSource,
    ForeignWeights,
    HeadOutput,
    ImportedLearner,
    MomentumKeys,
    Negatives,
    Quarantined,
    RawSample,
    Similarities,
    StepState,
    TextMaps,
)

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from PIL import Image
    from torch import Tensor, nn

    from mmtk.distributed.spread import Spread, Workload
    from mmtk.engine.learner import Learner
    from mmtk.stages.context import StageContext


T_co = TypeVar("T_co", covariant=True)


class Blueprint(Protocol[T_co]):
    """A checked component that is not built yet. ``mmtk.recipe.build`` implements it."""

    def build(self, **injected: Any) -> T_co:
        """Import the factory and call it. Raises RecipeError with the node's place if it refuses its keys."""


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
    """Draws hard negatives for ITM."""

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


class Reader(Protocol):
    """A dataset with random access. Opening it reads an index, not the samples."""

    quarantined: Sequence[Quarantined]  # what the index could not take in

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> RawSample:
        """Raises DataError with the reason when this sample can't be read."""


class Stream(Protocol):
    """A dataset that can only be read from front to back, shard by shard. Opening it reads no shard."""

    shards: Sequence[str]  # addresses, in an order that is the same each time

    def read(self, shard: str) -> Iterator[RawSample | Quarantined]:
        """Yield a shard's samples, and in their places those that can't be used; the same each time.

        Raises DataError when the shard can never be read, and any other error when it may be worth another
        try, also on the way: it is then read again, and what came before is skipped.
        """


class ImageTransform(Protocol):
    """A decoded RGB image to a normalised tensor.

    It may be a ``LazyImageTransform`` or a ``TextAwareImageTransform`` as well.
    """

    def __call__(self, image: Image.Image, generator: torch.Generator) -> Tensor:
        """Return ``(3, H, W)`` float32."""


class Picture(Protocol):
    """A picture that need not be decoded yet."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""

    def decode(self, reduction: int = 1) -> Image.Image:
        """Return it upright and in mode RGB. Raises DataError when it is damaged.

        With ``reduction`` 2, 4 or 8 the result may have that part of the width and height, rounded up.
        """


@runtime_checkable
class LazyImageTransform(Protocol):
    """An image transform that decodes a picture itself, no larger than it needs, unless it is in a cache."""

    def from_encoded(self, picture: Picture, generator: torch.Generator) -> Tensor:
        """Return ``(3, H, W)`` float32. Raises DataError when the picture can't be decoded."""


@runtime_checkable
class TextAwareImageTransform(Protocol):
    """An image transform that depends on what is said of the picture."""

    def for_text(self, text: str) -> Self:
        """Return the transform for a picture with this cleaned text; it is asked for each pair."""


class TextTransform(Protocol):
    """A raw text to what the model reads."""

    def __call__(self, text: str) -> str:
        """Raises DataError when nothing is left of the text."""


class OptimizerFactory(Protocol):
    def __call__(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer: ...


class Schedule(Protocol):
    """Learning rate over time."""

    def __call__(self, step: int, steps_per_epoch: int, total_steps: int) -> float:
        """Return the factor on the optimizer's peak rate at ``step`` (0-based)."""


class Strategy(Protocol):
    """How training is spread over the ranks of a run."""

    def __call__(self, workload: Workload) -> Spread:
        """Put the workload in its place. Every rank calls it, with equal workloads.

        A strategy that shards the learner shards the momentum encoder's ``twin`` likewise: both then hold
        shards of equal shapes, so that a moving average works on them. Of one rank it makes what ``single``
        makes.

        Raises StageError where device or backend can't run it correctly.
        """


class LayerWrapper(Protocol):
    """Changes how layers are computed, not what: activation checkpointing."""

    def __call__(self, layers: Sequence[nn.Module]) -> None:
        """Change the layers in place; the names of their parameters stay."""


class Logger(Protocol):
    """Takes the figures of a run. Built with ``folder``."""

    def log(self, step: int, figures: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class Metric(Protocol):
    """Scores a learner on a dataset."""

    def __call__(
        self, learner: Learner, data: Iterator[Batch] | Iterable[Batch], context: StageContext
    ) -> Mapping[str, float]:
        """Return named figures. ``data`` can be iterated over more than once."""


class ReportSection(Protocol):
    """A part of the HTML report."""

    title: str

    def html(self) -> str:
        """Return safe HTML: every text from data is escaped. Pictures and charts are inline."""


class WeightSource(Protocol):
    """First weights for a learner, made elsewhere."""

    def __call__(self, learner: Learner) -> ForeignWeights:
        """Return what there is for ``learner``; its modules adapt sizes themselves (``adapt_weights``).

        Raises CheckpointError when they can't be read. The host copies what fits and says what doesn't.
        """


class Importer(Protocol):
    """Turns a file or folder of another program into a learner. All its keys have defaults."""

    def accepts(self, source: Path) -> bool:
        """Whether ``source`` looks like this importer's format; a cheap look that never raises."""

    def __call__(self, source: Path) -> ImportedLearner:
        """Raises CheckpointError, also when a key is missing that this source needs."""


class Exporter(Protocol):
    """Writes a learner for another program."""

    def __call__(self, source: ExportSource, target: Path) -> tuple[str, ...]:
        """Write ``target``, which isn't there yet, and return sentences for the user.

        Raises CheckpointError when the other program can't represent the learner.
        """


class Stage(Protocol):
    """A step of a run.

    In a run of several ranks only the first one runs it, unless the stage has an attribute ``every_rank``
    that is true; all ranks then run it at once, in one process group, and only the first may write outputs.
    """

    def run(self, context: StageContext) -> None:
        """Do the work inside ``context.folder`` and write every declared output there.

        May find what an interrupted earlier try left there and go on from it.
        """


@dataclass(frozen=True)
class Kind:
    """A kind of component: its protocol and what its factories are given beside their config."""

    name: str
    protocol: type
    injected: tuple[str, ...] = ()


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("image_encoder", ImageEncoder),
        Kind("text_encoder", object, ("vocab_size", "image_width")),
        Kind("tokenizer", Tokenizer),
        Kind("model", Model),
        Kind("head", Head, ("model",)),
        Kind("loss", Loss),
        Kind("momentum", Momentum, ("model",)),
        Kind("negatives", NegativeSampler),
        Kind("reader", Reader),
        Kind("stream", Stream),
        Kind("image_transform", ImageTransform),
        Kind("text_transform", TextTransform),
        Kind("optimizer", OptimizerFactory),
        Kind("schedule", Schedule),
        Kind("strategy", Strategy),
        Kind("activation_checkpointing", LayerWrapper),
        Kind("logger", Logger, ("folder",)),
        Kind("metric", Metric),
        Kind("report_section", ReportSection, ("device", "registry")),
        Kind("weights", WeightSource),
        Kind("importer", Importer),
        Kind("exporter", Exporter),
        Kind("capfilt_step", CapfiltStep, ("device", "registry")),
        Kind("executor", Executor),
        Kind("stage", Stage),
    )
}
