"""A trained model that is asked about pictures and texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from mmtk.engine.learner import Learner
from mmtk.errors import CheckpointError, DataError
from mmtk.inference.batching import BatchSize, in_batches
from mmtk.inference.fingerprint import fingerprint_of
from mmtk.inference.index_files import read_index
from mmtk.inference.indexing import build_index
from mmtk.inference.pictures import PictureRead, read_picture, read_pictures
from mmtk.inference.preparation import Preparation
from mmtk.inference.results import Captioned, Embedded, Found, Indexed, Matched
from mmtk.inference.searching import Query, search_index
from mmtk.kinds import CaptioningHead, MatchingHead, Model
from mmtk.types import Decoding, stable_hash

Value = TypeVar("Value")


class InferenceModel:
    """A learner with all that it needs to read files and texts; ``mmtk.inference.load`` makes one.

    ``E`` is the width of the joint space. Pictures are given by their paths. Methods that return lists raise
    DataError at the first picture or text that can't be used; those that yield results go on, and the result
    says what is wrong.

    Attributes:
        learner: in evaluation mode.
        preparation: what pictures and texts go through before the model sees them.
        checkpoint: the folder it was loaded from.
        device: where it computes.
    """

    def __init__(
        self, learner: Learner, preparation: Preparation, checkpoint: Path, *, device: str, size: BatchSize
    ) -> None:
        self.learner = learner
        self.preparation = preparation
        self.checkpoint = checkpoint
        self.device = device
        self._size = size
        self._model: Model = learner.model

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal digits that depend on the checkpoint's content alone."""
        return fingerprint_of(self.checkpoint)

    def caption(
        self, images: Iterable[str | Path], decoding: Decoding | None = None, seed: int = 0
    ) -> list[str]:
        """Write one caption per picture; the arguments are those of ``captions``."""
        return [
            _usable(one.path, one.error, one.captions)[0] for one in self.captions(images, decoding, 1, seed)
        ]

    def captions(
        self,
        images: Iterable[str | Path],
        decoding: Decoding | None = None,
        number: int = 1,
        seed: int = 0,
    ) -> Iterator[Captioned]:
        """Write ``number`` captions per picture.

        Args:
            decoding: how; None is beam search with the prompt of the model's training.
            number: captions per picture. Beam search writes the same one each time.
            seed: nucleus sampling draws from it, picture by picture, whatever the batch size.

        Raises CheckpointError when no head writes captions, RecipeError when the lengths don't fit the model.
        """
        head: CaptioningHead = self.learner.head_with(CaptioningHead)
        chosen = decoding or Decoding(prompt=self.preparation.prompt)
        generators = [
            torch.Generator().manual_seed(stable_hash(seed, "caption", turn)) for turn in range(number)
        ]

        def write(pixels: Tensor) -> list[tuple[str, ...]]:
            encoding = self._model.encode_images(pixels)
            before = [generator.get_state() for generator in generators]
            try:
                turns = [head.generate(encoding, chosen, generator) for generator in generators]
            except torch.OutOfMemoryError:  # the parts of the batch draw the same again
                for generator, state in zip(generators, before, strict=True):
                    generator.set_state(state)
                raise
            return list(zip(*turns, strict=True))

        for path, captions, error in self._each(images, write):
            yield Captioned(path, captions or (), error)

    def match(self, image: str | Path, texts: Sequence[str]) -> list[Matched]:
        """Say of each text how well it fits the picture; one of which cleaning leaves nothing has an error.

        Raises DataError when the picture can't be read, CheckpointError when there is no matching head.
        """
        head: MatchingHead = self.learner.head_with(MatchingHead)
        picture = read_picture(str(image), self.preparation.image)
        pixels = _usable(picture.path, picture.error, picture.pixels)
        with torch.inference_mode():
            encoding = self._model.encode_images(pixels[None].to(self.device))

        def score(texts: list[str]) -> list[tuple[float, float]]:
            images = encoding.select(torch.zeros(len(texts), dtype=torch.int64, device=self.device))
            encoded = self._model.encode_texts(texts)
            probabilities = head.match_logits(images, encoded).float().softmax(dim=1)[:, 1]
            similarities = (images.features * encoded.features).float().sum(dim=1)
            return [(p, s) for p, s in finite(torch.stack((probabilities, similarities), dim=1)).tolist()]

        return [
            Matched(text, *scores, error=error) if scores else Matched(text, error=error)
            for text, scores, error in self._each_text(texts, score)
        ]

    def embed_images(self, images: Iterable[str | Path]) -> Tensor:
        """Return the pictures' features, ``(B, E)`` float32 of unit norm, on the CPU."""
        return _stacked(self.image_features(images))

    def embed_texts(self, texts: Iterable[str]) -> Tensor:
        """Return the texts' features, ``(T, E)`` float32 of unit norm, on the CPU."""
        return _stacked(self.text_features(texts))

    def image_features(self, images: Iterable[str | Path]) -> Iterator[Embedded]:
        """Yield each picture's features."""

        def embed(pixels: Tensor) -> Tensor:
            return finite(self._model.encode_images(pixels).features.float().cpu())

        for path, features, error in self._each(images, embed):
            yield Embedded(path, features, error)

    def text_features(self, texts: Iterable[str]) -> Iterator[Embedded]:
        """Yield each text's features."""

        def embed(cleaned: list[str]) -> Tensor:
            return finite(self._model.encode_texts(cleaned).features.float().cpu())

        for text, features, error in self._each_text(texts, embed):
            yield Embedded(text, features, error)

    def matching_logits(
        self, text: str, images: Iterable[str | Path]
    ) -> Iterator[tuple[str, Tensor | None, str]]:
        """Yield each picture's path with its matching logits ``(2,)`` for the text, or with an error.

        Raises CheckpointError when there is no matching head, DataError when nothing is left of the text.
        """
        head: MatchingHead = self.learner.head_with(MatchingHead)
        cleaned = self.preparation.text(text)

        def score(pixels: Tensor) -> Tensor:
            encoding = self._model.encode_images(pixels)
            return finite(
                head.match_logits(encoding, self._model.encode_texts([cleaned] * len(pixels))).float().cpu()
            )

        return self._each(images, score)

    def index(
        self,
        images: Iterable[str | Path],
        folder: str | Path,
        watch: Callable[[Embedded], None] = lambda _done: None,
    ) -> Indexed:
        """Make ``folder`` an index of the pictures, or bring it up to date; see ``build_index``."""
        return build_index(self, images, Path(folder), watch)

    def search(
        self,
        query: str,
        folder: str | Path,
        *,
        by_image: bool = False,
        top: int = 10,
        rerank: int | None = None,
    ) -> list[Found]:
        """Return the index's pictures that fit best, the best first; see ``search_index``."""
        wanted = Query(query, by_image, top, rerank)
        return search_index(self, read_index(Path(folder)), wanted)

    def _each(
        self, images: Iterable[str | Path], compute: Callable[[Tensor], Sequence[Value] | Tensor]
    ) -> Iterator[tuple[str, Value | None, str]]:
        """Yield path, what ``compute`` says of the picture, and an error where it can't be read.

        ``compute`` is given pixels ``(B, 3, H, W)`` on the device and returns ``B`` values.
        """

        def of_batch(batch: list[PictureRead]) -> list[tuple[str, Value | None, str]]:
            readable = [one.pixels for one in batch if one.pixels is not None]
            with torch.inference_mode():
                values = iter(compute(torch.stack(readable).to(self.device)) if readable else ())
            return [(one.path, None if one.pixels is None else next(values), one.error) for one in batch]

        return in_batches(read_pictures(map(str, images), self.preparation.image), of_batch, self._size)

    def _each_text(
        self, texts: Iterable[str], compute: Callable[[list[str]], Sequence[Value] | Tensor]
    ) -> Iterator[tuple[str, Value | None, str]]:
        """Likewise for texts; ``compute`` is given them cleaned."""

        def of_batch(batch: list[str]) -> list[tuple[str, Value | None, str]]:
            cleaned = [self._cleaned(text) for text in batch]
            left = [text for text, error in cleaned if not error]
            with torch.inference_mode():
                values = iter(compute(left) if left else ())
            return [
                (text, None if error else next(values), error)
                for text, (_, error) in zip(batch, cleaned, strict=True)
            ]

        return in_batches(texts, of_batch, self._size)

    def _cleaned(self, text: str) -> tuple[str, str]:
        try:
            return self.preparation.text(text), ""
        except DataError as error:
            return "", str(error)


def finite(scores: Tensor) -> Tensor:
    """Return ``scores``. Raises CheckpointError when one is not finite: it would rank anywhere."""
    if not torch.isfinite(scores).all():
        raise CheckpointError("the model's scores are not finite; its training has diverged")
    return scores


def _usable(name: str, error: str, value: Value | None) -> Value:
    if error or value is None:
        raise DataError(f"{name}: {error}")
    return value


def _stacked(results: Iterable[Embedded]) -> Tensor:
    rows = [_usable(one.name, one.error, one.features) for one in results]
    return torch.stack(rows) if rows else torch.empty(0, 0)
