"""The section ``gradcam``: where in a picture the filter sees each word of its texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from PIL import Image

from mmtk.api import (
    Blueprint,
    CheckpointError,
    DataError,
    ImageTransform,
    Reader,
    Registry,
    TextMaps,
    TextTransform,
    WordMappingHead,
    decode_image,
    load_learner,
    render,
    stable_hash,
)
from mmtk_capfilt.decisions import KEPT
from mmtk_capfilt.ledger import ITM, SYNTHETIC, WEB, read_ledger
from mmtk_capfilt.report.heat import heat_uri
from mmtk_capfilt.report.pictures import data_uri, find_pictures
from mmtk_capfilt.report.selection import choose
from mmtk_capfilt.steps.models import chunks

_PAIRS_AT_A_TIME = 16
_SPARE = 4  # how many times the pictures that are shown are looked for: the readers may hold a fold only
_SAME_SCORE = 0.01  # a batch's padding and the device move the last digits


@dataclass(frozen=True)
class Word:
    """A word with its map as a data URI, None where nothing in the picture speaks for it.

    ``share`` is its strongest place, in percent of that of the text's strongest word.
    """

    word: str
    heat: str | None
    share: int


@dataclass(frozen=True)
class Saying:
    """A text below a picture. ``score`` is its ITM probability by the checkpoint that drew the maps."""

    source: str
    kept: bool
    score: float
    words: list[Word]
    cut: bool


@dataclass(frozen=True)
class Sight:
    """A picture with its texts."""

    key: str
    picture: str
    texts: list[Saying]


@dataclass(frozen=True)
class _Pair:
    """A row of the ledger, its text cleaned."""

    row: Mapping[str, Any]
    cleaned: str


class GradcamSection:
    """Pictures below which each word can be pointed at, without any script.

    Raises CheckpointError when the checkpoint has no head that can map words.
    """

    def __init__(
        self,
        *,
        checkpoint: Path,
        ledger: Path,
        images: Sequence[Blueprint[Reader]],
        image_transform: Blueprint[ImageTransform],
        text_transform: Blueprint[TextTransform],
        count: int,
        layer: int | None,
        title: str,
        device: str,
        registry: Registry,
    ) -> None:
        self.title = title
        self._ledger = _judged(read_ledger(ledger))
        self._readers = [blueprint.build() for blueprint in images]
        self._image_transform, self._text_transform = image_transform.build(), text_transform.build()
        self._count, self._layer, self._device = count, layer, device
        learner = load_learner(checkpoint, registry, device)
        try:
            self._head: WordMappingHead = learner.head_with(WordMappingHead)
        except CheckpointError as error:
            raise CheckpointError(f"{checkpoint}: {error}") from error
        self._model = learner.model

    def css(self) -> str:
        return render("mmtk_capfilt.report", "gradcam.css")

    def html(self) -> str:
        pictures = self._pictures()
        pairs = self._pairs(pictures)
        maps = self._maps([(pictures[pair.row["key"]][1], pair.cleaned) for pair in pairs])
        texts: dict[str, list[Saying]] = {}
        for pair, found in zip(pairs, maps, strict=True):
            size = pictures[pair.row["key"]][1].size
            texts.setdefault(pair.row["key"], []).append(_saying(pair, found, size))
        scores = [(pair.row[ITM], _probability(found)) for pair, found in zip(pairs, maps, strict=True)]
        return render(
            "mmtk_capfilt.report",
            "gradcam.html",
            sights=[Sight(key, pictures[key][0], said) for key, said in texts.items()],
            judged=len(self._ledger),
            other_scores=sum(abs(own - before) > _SAME_SCORE for before, own in scores),
            scores=len(scores),
            grid=tuple(maps[0].words[0].weights.shape) if maps and maps[0].words else None,
            name=f"gradcam-{stable_hash(self.title, list(texts)):016x}",
        )

    def _pictures(self) -> dict[str, tuple[str, Image.Image]]:
        """The pictures to show by key, as data URI and decoded; those that can't be read are left out."""
        wanted = [key for group in choose(self._ledger, _SPARE * self._count) for key in group.keys]
        found: dict[str, tuple[str, Image.Image]] = {}
        for key, image in find_pictures(self._readers, wanted).items():
            shown = data_uri(image)
            if shown is not None:
                found[key] = shown, decode_image(image)
        readable = self._ledger.filter(pc.is_in(self._ledger["key"], pa.array(found, pa.string())))
        return {key: found[key] for group in choose(readable, self._count) for key in group.keys}

    def _pairs(self, keys: Mapping[str, object]) -> list[_Pair]:
        """The texts of these pictures, in their order, web texts first."""
        rows = self._ledger.filter(pc.is_in(self._ledger["key"], pa.array(keys, pa.string()))).to_pylist()
        place = {key: number for number, key in enumerate(keys)}
        rows.sort(key=lambda row: (place[row["key"]], row["source"] != WEB))
        return [_Pair(row, self._cleaned(row)) for row in rows]

    def _cleaned(self, row: Mapping[str, Any]) -> str:
        try:
            return self._text_transform(row["text"])
        except DataError as error:
            raise DataError(
                f"{row['key']}: the filter has scored a text that text_transform refuses: {error}"
            ) from error

    def _maps(self, pairs: Sequence[tuple[Image.Image, str]]) -> list[TextMaps]:
        return [
            maps
            for some in chunks(pairs, _PAIRS_AT_A_TIME)
            for maps in self._head.word_maps(
                self._model,
                torch.stack([self._pixels(picture) for picture, _ in some]).to(self._device),
                [text for _, text in some],
                self._layer,
            )
        ]

    def _pixels(self, picture: Image.Image) -> torch.Tensor:
        return self._image_transform(picture, torch.Generator().manual_seed(0))


def _judged(ledger: pa.Table) -> pa.Table:
    """The web and synthetic texts that have an ITM probability."""
    sources = pc.is_in(ledger["source"], pa.array([WEB, SYNTHETIC]))
    return ledger.filter(pc.and_(sources, pc.is_valid(ledger[ITM])))


def _probability(maps: TextMaps) -> float:
    return float(maps.logits.float().softmax(0)[1])


def _saying(pair: _Pair, maps: TextMaps, size: tuple[int, int]) -> Saying:
    strongest = max((float(word.weights.max()) for word in maps.words), default=0.0)
    words = []
    for word, weights in maps.words:
        peak = float(weights.max())
        heat = heat_uri((weights / peak).cpu().numpy(), size) if peak > 0 else None
        words.append(Word(word, heat, round(100 * peak / strongest) if strongest else 0))
    shown = "".join(word.word for word in words)
    return Saying(
        pair.row["source"],
        pair.row["decision"] == KEPT,
        _probability(maps),
        words,
        cut=len(shown) < len("".join(pair.cleaned.split())),
    )
