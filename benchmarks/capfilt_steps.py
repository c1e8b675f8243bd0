"""What the CapFilt steps ``dedup`` and ``language_filter`` recognise, and how long that takes.

Copies are made of textures with the spectrum of photographs, and of the emoji of the quickstart: icons, which
are much alike. Texts are the emoji's names, English and German, of one to a few words.
"""

from __future__ import annotations

import argparse
import io
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import mmtk_emoji
import numpy as np
import pyarrow.parquet as pq
from mmtk_capfilt.steps.configs import LanguageFilterConfig
from mmtk_capfilt.steps.fingerprints import kept_for, look, near_pairs
from mmtk_capfilt.steps.language import LanguageFilter
from numpy.typing import NDArray
from PIL import Image

from benchmarks.arguments import positive
from mmtk.api import WEB, Candidate
from mmtk.data.images.decode import decode_image

DISTANCES = (0, 2, 3, 4, 6)
THRESHOLDS = (0.01, 0.02, 0.05, 0.1)
EMOJI = Path(mmtk_emoji.__file__).parent / "data"


def texture(seed: int, size: int = 200) -> Image.Image:
    """A picture with the spectrum of photographs: amplitudes fall with the frequency."""
    rng = np.random.default_rng(seed)
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequencies[0, 0] = 1
    planes = [
        np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) / frequencies).real for _ in range(3)
    ]
    stretched = [(plane - plane.min()) / np.ptp(plane) * 255 for plane in planes]
    return Image.fromarray(np.stack(stretched, axis=-1).astype(np.uint8))


def recompressed(picture: Image.Image, quality: int, scale: float = 1.0) -> Image.Image:
    """The picture as a site would serve it: another size, and JPEG."""
    buffer = io.BytesIO()
    size = round(picture.width * scale), round(picture.height * scale)
    picture.resize(size).save(buffer, "jpeg", quality=quality)
    return Image.open(buffer).convert("RGB")


def cropped(picture: Image.Image, share: float) -> Image.Image:
    across, down = round(picture.width * share), round(picture.height * share)
    return picture.crop((across, down, picture.width - across, picture.height - down))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG of quality 50": partial(recompressed, quality=50),
    "three quarters of the size, JPEG of quality 75": partial(recompressed, quality=75, scale=0.75),
    "2% cropped at each edge": partial(cropped, share=0.02),
}


def codes_of(pictures: Sequence[Image.Image]) -> NDArray[np.uint64]:
    return np.array([look(picture) or 0 for picture in pictures], np.uint64)


def copies_table(pictures: dict[str, list[Image.Image]]) -> list[list[str]]:
    """A row for each change: the share of copies that is recognised. And one for different pictures."""
    rows = []
    for name, originals in pictures.items():
        codes = codes_of(originals)
        for change, make in CHANGES.items():
            apart = np.bitwise_count(codes ^ codes_of([make(picture) for picture in originals]))
            shares = [float(np.mean(apart <= distance)) for distance in DISTANCES]
            rows.append([f"{name}, {change}", *(f"{share:.0%}" for share in shares)])
        lost = [
            float(np.mean(kept_for(codes, codes != 0, distance) != np.arange(len(codes))))
            for distance in DISTANCES
        ]
        rows.append([f"{name}, all different: left out", *(f"{share:.1%}" for share in lost)])
    return rows


def languages_table() -> list[list[str]]:
    """A row for each language and length of text: which share a filter for English bars."""
    english = pq.read_table(EMOJI / "human_train.parquet", columns=["text"])["text"].to_pylist()
    german = json.loads((EMOJI / "labels-de.json").read_text(encoding="utf-8")).values()
    steps = [
        LanguageFilter(languages=["en"], among=LanguageFilterConfig(languages=("en",)).among, threshold=value)
        for value in THRESHOLDS
    ]
    rows = []
    for name, texts in (("English", english), ("German", german)):
        for words, least, most in (("one word", 1, 1), ("two words", 2, 2), ("more", 3, 99)):
            own = [Candidate(text, WEB) for text in texts if least <= len(text.split()) <= most]
            shares = [np.mean([step.reason(one) is not None for one in own]) for step in steps]
            rows.append([f"{name}, {words} ({len(own)})", *(f"{share:.0%}" for share in shares)])
    return rows


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *rows))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capfilt_steps", description=__doc__)
    parser.add_argument("--pictures", type=positive, default=400, help="textures; default 400")
    parser.add_argument("--codes", type=positive, default=1_000_000, help="pictures to search among")
    options = parser.parse_args(arguments)
    textures = [texture(seed) for seed in range(options.pictures)]
    icons = pq.read_table(EMOJI / "human_train.parquet", columns=["image"])["image"].to_pylist()
    pictures = {"textures": textures, "icons": [decode_image(data) for data in icons[: options.pictures]]}
    print(table(["`distance`", *map(str, DISTANCES)], copies_table(pictures)), end="\n\n")
    print(table(["`threshold`", *map(str, THRESHOLDS)], languages_table()), end="\n\n")
    codes = np.random.default_rng(0).integers(2**64, size=options.codes, dtype=np.uint64)
    started = time.perf_counter()
    near_pairs(np.unique(codes), 3)
    print(
        f"near duplicates among {options.codes:,} different pictures: {time.perf_counter() - started:.1f} s"
    )
    given = sys.argv[1:] if arguments is None else arguments
    print(f"`{shlex.join(['python', '-m', 'benchmarks.capfilt_steps', *given])}`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
