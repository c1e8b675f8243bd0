"""What flows between components: samples, batches, encodings, scores and the state of a training step.

Shapes: ``B`` batch, ``T`` texts in a batch, ``N`` image tokens (the first stands for the whole image),
``L`` text tokens, ``D`` width, ``E`` joint embedding, ``K`` keys in a similarity (batch and queue).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from mmtk.config import Range

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mmtk.engine.learner import Learner


@dataclass(frozen=True)
class RawSample:
    """One image-text pair as a reader finds it.

    Attributes:
        key: unique within its reader; names the sample in ledgers and in the quarantine.
        image: the encoded image file.
        texts: the image's texts, in the file's order; a training pipeline draws one of them.
        image_id: pairs with one ``image_id`` show one image and are never negatives of each other.
        source: where the text comes from, e.g. ``web``, ``synthetic``, ``human``.
        location: file (and member) the sample was read from, for messages.
    """

    key: str
    image: bytes
    texts: tuple[str, ...]
    image_id: str
    source: str = ""
    location: str = ""


@dataclass(frozen=True)
class Quarantined:
    """A sample that could not be used, and why."""

    key: str
    reason: str
    location: str = ""


@dataclass(frozen=True)
class Batch:
    """A batch of pairs.

    Attributes:
        images: ``(B, 3, H, W)`` float32, normalised.
        texts: ``B`` strings.
        image_ids: ``(B,)`` int64, a stable hash of each ``image_id``.
        keys: ``B`` sample keys.
    """

    images: Tensor
    texts: tuple[str, ...]
    image_ids: Tensor
    keys: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def text_ids(self) -> Tensor:
        """``(B,)`` int64, a stable hash of each text, on the device of ``image_ids``."""
        import torch

        hashes = [stable_hash(text) for text in self.texts]
        return torch.tensor(hashes, dtype=torch.int64, device=self.image_ids.device)

    def to(self, device: torch.device | str) -> Batch:
        """Move the tensors. From page-locked memory the copy runs beside whatever the device computes."""
        pinned = self.images.is_pinned()
        images, image_ids = (t.to(device, non_blocking=pinned) for t in (self.images, self.image_ids))
        return Batch(images, self.texts, image_ids, self.keys)

    def pin_memory(self) -> Batch:
        """Copy the tensors into page-locked memory, which needs CUDA."""
        return Batch(self.images.pin_memory(), self.texts, self.image_ids.pin_memory(), self.keys)


def stable_hash(*parts: object) -> int:
    """Return a non-negative 63-bit integer that depends on ``parts`` alone, on every machine."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@dataclass(frozen=True)
class StepState:
    """Where training stands. Everything random in a step is drawn from it, so a resumed run repeats it.

    Attributes:
        step: optimizer steps done before this one, over the whole run.
        epoch: full passes done over the data, as a fraction (``step / steps_per_epoch``).
        total_steps: optimizer steps of the whole run.
        seed: the stage's seed.
        part: which of the batches that the step accumulates; 0 is the first.
        rank: which of the run's processes this is.
    """

    step: int
    epoch: float
    total_steps: int
    seed: int
    part: int = 0
    rank: int = 0

    @property
    def rank_part(self) -> tuple[object, ...]:
        """What seeds depend on beside seed and step: nothing on the first rank, which draws as if alone."""
        return (f"rank {self.rank}",) if self.rank else ()

    def generator(self, name: str) -> torch.Generator:
        """Return a CPU generator that depends on seed, step, part, rank and ``name`` alone."""
        import torch

        # The first part draws as a step of one batch does.
        part = (self.part,) if self.part else ()
        return torch.Generator().manual_seed(stable_hash(self.seed, self.step, name, *part, *self.rank_part))


class HeadOutput(NamedTuple):
    """A head's loss (a scalar tensor with a gradient) and the figures it wants logged (detached scalars)."""

    loss: Tensor
    metrics: Mapping[str, Tensor]


class WordMap(NamedTuple):
    """Where in a picture a match sees a word.

    Attributes:
        word: as its text spells it.
        weights: ``(h, w)`` float32 over the picture's grid, not negative; 0 where nothing speaks for a match.
    """

    word: str
    weights: Tensor


class TextMaps(NamedTuple):
    """A text's word maps over its picture.

    Attributes:
        logits: ``(2,)`` of [no match, match].
        words: in their order; those that the model's longest text has no room for are missing.
    """

    logits: Tensor
    words: tuple[WordMap, ...]


class Similarities(NamedTuple):
    """ITC logits of a batch against the keys: the batch itself, other ranks' batches, then the queue.

    Attributes:
        image_to_text: ``(B, K)``, divided by the temperature; its gradient reaches the online towers.
        text_to_image: ``(B, K)``, likewise.
        teacher_image_to_text: ``(B, K)`` the momentum encoder's own logits, no gradient; None without one.
        teacher_text_to_image: ``(B, K)``, likewise.
        matching: ``(B, K)`` bool, true where the key is the row's own pair or belongs to it as well: it shows
            the same image or, if the model's option says so, has the same text. These are no negatives.
            The batch's own part ``(B, B)`` is symmetric.
    """

    image_to_text: Tensor
    text_to_image: Tensor
    teacher_image_to_text: Tensor | None
    teacher_text_to_image: Tensor | None
    matching: Tensor


class Negatives(NamedTuple):
    """Hard negatives of a batch: columns of the logits they were drawn by, ``(B,)`` int64 each."""

    image_for_text: Tensor
    text_for_image: Tensor


class MomentumKeys(NamedTuple):
    """What the momentum encoder offers for one batch, without gradient.

    Attributes:
        image_features: ``(B, E)`` unit-norm features of the batch by the momentum towers.
        text_features: ``(B, E)``, likewise.
        queued_image_features: ``(Q, E)`` features of earlier batches, the valid entries only.
        queued_text_features: ``(Q, E)``, likewise.
        queued_image_ids: ``(Q,)`` int64.
        queued_text_ids: ``(Q,)`` int64.
        image_embeds: ``(B, N, D)`` image tokens of the momentum towers, for models whose towers return them.
    """

    image_features: Tensor
    text_features: Tensor
    queued_image_features: Tensor
    queued_text_features: Tensor
    queued_image_ids: Tensor
    queued_text_ids: Tensor
    image_embeds: Tensor | None = None


@dataclass(frozen=True)
class Decoding:
    """How to write a caption.

    Attributes:
        method: ``beam`` (``beams`` 1 is greedy) or ``nucleus``, which draws each token; with ``top_p`` 1 and
            ``top_k`` that is plain top-k sampling.
        beams: width of the beam.
        top_k: nucleus sampling draws from this many of the likeliest tokens at most, before ``top_p``.
        top_p: probability mass that nucleus sampling draws from.
        min_length: least number of tokens, prompt included.
        max_length: greatest number of tokens, prompt included.
        prompt: words every caption starts with; cut off from the result.
        repetition_penalty: logits of tokens already written are divided by it (multiplied where negative).
        temperature: nucleus sampling divides logits by it, before ``top_k`` and ``top_p``.
    """

    method: Literal["beam", "nucleus"] = "beam"
    beams: Annotated[int, Range(1)] = 3
    top_k: Annotated[int, Range(1)] | None = None
    top_p: Annotated[float, Range(0, 1, low_open=True)] = 0.9
    min_length: Annotated[int, Range(0)] = 5
    max_length: Annotated[int, Range(1)] = 20
    prompt: str = ""
    repetition_penalty: Annotated[float, Range(0, low_open=True)] = 1.0
    temperature: Annotated[float, Range(0, low_open=True)] = 1.0

    def check(self) -> Iterator[tuple[str, str]]:
        if self.min_length > self.max_length:
            yield "min_length", f"{self.min_length} is more than max_length {self.max_length}"


@dataclass(frozen=True)
class ComponentNode:
    """A recipe node after checking: which component, and its keys with defaults filled in.

    ``keys`` holds plain values, nested ``ComponentNode`` objects for slots and paths for inputs. ``place`` is
    where the node was written, for messages. ``said_by`` is what says of the component more than its keys, so
    that the check of a component around it can tell whether the two fit: its filled config, or its factory
    where it has no config.
    """

    kind: str
    use: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    place: str = field(default="", compare=False, repr=False)
    said_by: Any = field(default=None, compare=False, repr=False)


class ForeignWeights(NamedTuple):
    """Tensors of another program by the names of a learner's state dict.

    Attributes:
        tensors: by our name; a tensor may stand under several names (tied or copied).
        left_over: the other program's names for which the learner's kind has no place.
    """

    tensors: Mapping[str, Tensor]
    left_over: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportedLearner:
    """A learner that another program made, taken apart.

    Attributes:
        model: its recipe node as plain data, ``{"use": "med", …}`` with paths as text.
        heads: likewise, by the names that the heads shall have.
        weights: what fills them.
        notes: sentences for the user.
    """

    model: Mapping[str, Any]
    heads: Mapping[str, Mapping[str, Any]]
    weights: ForeignWeights
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExportSource:
    """What an exporter writes.

    Attributes:
        learner: on the CPU, in evaluation mode.
        model: its recipe node as plain data, every default filled in and every path absolute.
        heads: likewise, by name.
        name: a title: the run's name, or the checkpoint folder's.
        recipe: the run's resolved recipe as YAML; empty without one.
        metrics: figures measured on the checkpoint, by the stage that measured them.
    """

    learner: Learner
    model: Mapping[str, Any]
    heads: Mapping[str, Mapping[str, Any]]
    name: str = ""
    recipe: str = ""
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
