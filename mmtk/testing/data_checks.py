"""What readers, streams and transforms promise."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from mmtk.data.images.decode import EncodedPicture, decode_image
from mmtk.errors import DataError
from mmtk.kinds import (
    ImageTransform,
    LazyImageTransform,
    Reader,
    Stream,
    TextAwareImageTransform,
    TextTransform,
)
from mmtk.testing.promise import promise, promise_tensor, under_two_seeds
from mmtk.testing.tiny import TEXTS, tiny_picture
from mmtk.types import Quarantined, RawSample

FEW = 50  # samples that are looked at
THREADS = 4
ODD_TEXTS = (
    "",
    " \n\t",
    "!?.",
    "\N{FACE WITH TEARS OF JOY}",
    "\u0645\u0631\u062d\u0628\u0627",
    "word " * 500,
)


def check_reader(reader: Reader) -> None:
    """Samples that are the same in every thread, with keys of their own and pictures that decode.

    Args:
        reader: opened on a dataset with a usable sample; of a large one the first ones are looked at.
    """
    promise(len(reader) > 0, reader, "holds no sample; give it a dataset with some")
    places = range(min(len(reader), FEW))
    samples = [_read(reader, place) for place in places]
    for place, sample in zip(places, samples, strict=True):
        if isinstance(sample, RawSample):
            _promise_sample(reader, f"sample {place}", sample)
    usable = [sample for sample in samples if isinstance(sample, RawSample)]
    promise(bool(usable), reader, f"none of the first {len(samples)} samples can be read: {samples[0]}")
    keys = [sample.key for sample in usable]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    promise(not twice, reader, f"keys that several samples have: {', '.join(map(repr, twice[:3]))}")
    with ThreadPoolExecutor(THREADS) as pool:
        again = list(pool.map(lambda place: _read(reader, place), [*places, *reversed(places)]))
    same = again == [*samples, *reversed(samples)]
    promise(same, reader, "gives other samples when several threads read at once, as the pipeline's do")
    _promise_quarantined(reader, reader.quarantined)


def _read(reader: Reader, place: int) -> RawSample | str:
    """A sample, or why it can't be read. Any error but a DataError is a bug of the reader."""
    try:
        return reader[place]
    except DataError as error:
        return str(error)


def _promise_sample(reader: Any, who: str, sample: Any) -> None:
    promise(isinstance(sample, RawSample), reader, f"{who} is {type(sample).__name__} and no RawSample")
    promise(bool(sample.key) and isinstance(sample.key, str), reader, f"{who} has the key {sample.key!r}")
    image_id = sample.image_id
    promise(bool(image_id) and isinstance(image_id, str), reader, f"{who} has the image_id {image_id!r}")
    strings = isinstance(sample.texts, tuple) and all(isinstance(text, str) for text in sample.texts)
    promise(
        strings and bool(sample.texts), reader, f"the texts of {who} are {sample.texts!r}: no tuple of texts"
    )
    promise(isinstance(sample.image, bytes), reader, f"the image of {who} isn't bytes of an image file")
    try:
        decode_image(sample.image)
    except DataError as error:
        promise(False, reader, f"the image of {who} can't be decoded: {error}")


def _promise_quarantined(reader: Any, entries: Sequence[Any]) -> None:
    for entry in entries:
        right = isinstance(entry, Quarantined) and bool(entry.key) and bool(entry.reason)
        promise(right, reader, f"quarantined holds {entry!r}: no Quarantined with a key and a reason")


def check_stream(stream: Stream) -> None:
    """Shards that are named, and read the same each time."""
    promise(len(stream.shards) > 0, stream, "has no shard; give it a dataset with some")
    promise(len(set(stream.shards)) == len(stream.shards), stream, "names a shard twice")
    for shard in islice(stream.shards, 3):
        first, again = (list(islice(stream.read(shard), FEW)) for _ in range(2))
        promise(first == again, stream, f"{shard} gives other samples when it is read again")
        for place, sample in enumerate(first):
            if isinstance(sample, Quarantined):
                _promise_quarantined(stream, [sample])
            else:
                _promise_sample(stream, f"sample {place} of {shard}", sample)


def check_image_transform(transform: ImageTransform) -> None:
    """Tensors of one shape from pictures of any, by the generator alone, and the picture left as it was."""
    sizes = ((40, 36), (24, 64), (200, 90), (17, 17))
    pictures = [decode_image(tiny_picture(place, size)) for place, size in enumerate(sizes)]
    shapes = set()
    for picture in pictures:
        before = picture.tobytes()
        first, second = under_two_seeds(lambda picture=picture: transform(picture, _generator()))  # type: ignore[misc]
        promise_tensor(first, transform, "the result", (3, None, None), torch.float32)
        equal = torch.equal(first, second)
        promise(equal, transform, "equal generators give other results: draw from the one that is given")
        promise(picture.tobytes() == before, transform, "changes the picture that it is given")
        shapes.add(tuple(first.shape))
    found = " and ".join(map(str, sorted(shapes)))
    promise(len(shapes) == 1, transform, f"gives tensors of several shapes, which make no batch: {found}")
    (shape,) = shapes
    if isinstance(transform, LazyImageTransform):
        lazily = transform.from_encoded(EncodedPicture(tiny_picture(0, sizes[0])), _generator())
        promise_tensor(lazily, transform, "from_encoded's result", shape, torch.float32)
        same = torch.allclose(lazily, _called(transform, pictures[0]), atol=1e-4)
        promise(same, transform, "from_encoded gives another result than the call with the decoded picture")
    if isinstance(transform, TextAwareImageTransform):
        for text in TEXTS:
            promise_tensor(
                _called(transform.for_text(text), pictures[0]), transform, "for_text's", shape, torch.float32
            )


def _called(transform: Any, picture: Any) -> Tensor:
    result: Tensor = transform(picture, _generator())
    return result


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def check_text_transform(transform: TextTransform, texts: Sequence[str] = TEXTS) -> None:
    """A text that isn't empty, the same each time, or a DataError for what can't be cleaned.

    Args:
        transform: built.
        texts: some that it takes.
    """
    for text in texts:
        cleaned = transform(text)
        promise(
            isinstance(cleaned, str) and bool(cleaned.strip()), transform, f"{text!r} becomes {cleaned!r}"
        )
        promise(transform(text) == cleaned, transform, f"{text!r} becomes another text the second time")
    for text in ODD_TEXTS:
        try:
            cleaned = transform(text)
        except DataError:
            continue
        except Exception as error:
            name = type(error).__name__
            promise(False, transform, f"raises {name} and no DataError for {text[:20]!r}: {error}")
        promise(
            bool(cleaned.strip()), transform, f"{text[:20]!r} becomes {cleaned!r}: it must raise DataError"
        )
