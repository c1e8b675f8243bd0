"""Training a vocabulary: what it holds, that it repeats, and what the stage leaves out."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from mmtk_blip.tokenizer import SPECIAL, WordPiece, read_vocabulary
from mmtk_blip.train_wordpiece import TrainWordpiece, train_vocabulary

from mmtk.errors import DataError, StageError
from mmtk.stages.context import StageContext
from mmtk.types import Quarantined, RawSample

TEXTS = ["a red cat", "a red car", "the cats and the dogs", "two red cats near a car", "Dogs!"] * 5


class ListReader:
    """Samples from a list; an exception in it is raised when its sample is read."""

    def __init__(self, samples: list[tuple[str, ...] | DataError], quarantined: int = 0) -> None:
        self.samples = samples
        self.quarantined = [Quarantined(str(index), "no text") for index in range(quarantined)]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> RawSample:
        sample = self.samples[index]
        if isinstance(sample, DataError):
            raise sample
        return RawSample(str(index), b"", sample, str(index))


class Built:
    """A blueprint of something that is there already."""

    def __init__(self, built: Any) -> None:
        self.built = built

    def build(self, **injected: Any) -> Any:
        assert not injected
        return self.built


def _clean(text: str) -> str:
    if not text:
        raise DataError("empty text")
    return text.replace("!", " ")


def _run(folder: Path, readers: list[ListReader], **config: Any) -> list[str]:
    said: list[str] = []
    options = {"vocab_size": 60, "min_frequency": 2, "lowercase": True} | config
    stage = TrainWordpiece(
        texts=[Built(reader) for reader in readers], text_transform=Built(_clean), **options
    )
    stage.run(StageContext("tokenizer", folder, 0, "cpu", None, said.append))  # type: ignore[arg-type]
    return said


def test_vocabulary_starts_with_special_tokens_and_covers_its_texts() -> None:
    vocabulary = train_vocabulary(TEXTS, vocab_size=60, min_frequency=2)
    assert tuple(vocabulary[: len(SPECIAL)]) == SPECIAL
    assert len(vocabulary) == len(set(vocabulary)) <= 60
    words = WordPiece(vocabulary)
    assert words.vocab_size == len(vocabulary)
    unknown = vocabulary.index("[UNK]")
    for text in TEXTS:
        ids = words([text])[0][0].tolist()
        assert unknown not in ids
        assert words.decode(ids).replace(" ", "") == text.lower().replace(" ", "")


def test_frequent_words_become_one_token() -> None:
    vocabulary = train_vocabulary(TEXTS, vocab_size=200, min_frequency=2)
    assert {"red", "car", "cats"} <= set(vocabulary)


def test_rare_pairs_stay_pieces() -> None:
    vocabulary = train_vocabulary([*TEXTS, "zyxw"], vocab_size=500, min_frequency=2)
    assert "zyxw" not in vocabulary
    assert {"z", "##y", "##w"} <= set(vocabulary)


def test_case_is_kept_on_request() -> None:
    vocabulary = train_vocabulary(["Red red"] * 3, vocab_size=60, min_frequency=2, lowercase=False)
    assert {"Red", "red"} <= set(vocabulary)


def test_equal_texts_give_equal_vocabularies() -> None:
    """The library's trainer alone gives another vocabulary each time: many pairs tie in these texts."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 8))) for _ in range(300)]
    texts = [" ".join(draw.choices(words, k=8)) for _ in range(500)]
    first = train_vocabulary(texts, vocab_size=200, min_frequency=2)
    assert len(first) == 200
    assert all(train_vocabulary(texts, vocab_size=200, min_frequency=2) == first for _ in range(4))


def test_the_order_of_samples_does_not_matter() -> None:
    shuffled = random.Random(1).sample(TEXTS, len(TEXTS))
    sizes = {"vocab_size": 60, "min_frequency": 2}
    assert train_vocabulary(TEXTS, **sizes) == train_vocabulary(shuffled, **sizes)


def test_stage_writes_the_vocabulary_and_says_what_it_left_out(tmp_path: Path) -> None:
    readers = [
        ListReader([("a red cat", "the dogs!"), DataError("broken"), ("", "two cats")], quarantined=2),
        ListReader([("a red car",)]),
    ]
    said = _run(tmp_path, readers)
    vocabulary = read_vocabulary(tmp_path / "vocab.txt")
    assert "!" not in vocabulary
    assert said == [f"{len(vocabulary)} tokens from 4 texts, 3 samples left out, 1 texts left out"]
    expected = train_vocabulary(
        ["a red cat", "the dogs ", "two cats", "a red car"], vocab_size=60, min_frequency=2
    )
    assert vocabulary == expected


def test_stage_without_losses_says_nothing_of_them(tmp_path: Path) -> None:
    (line,) = _run(tmp_path, [ListReader([("a red cat",)])])
    assert "left out" not in line


def test_stage_without_texts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"^none of the datasets in texts holds a text that can be read$"):
        _run(tmp_path, [ListReader([DataError("broken")])])
    with pytest.raises(StageError, match=r"holds a text that can be read \(0: no text\)$"):
        _run(tmp_path, [ListReader([DataError("broken")]), ListReader([], quarantined=2)])
