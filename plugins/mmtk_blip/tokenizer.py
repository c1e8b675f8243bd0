"""BERT's WordPiece tokenizer with BLIP's two extra tokens, on the tokenizers library."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor

from mmtk.api import DataError

DECODE, ENCODE, MASK = "[DEC]", "[ENC]", "[MASK]"
REQUIRED = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
SPECIAL = (*REQUIRED, MASK, DECODE, ENCODE)
VOCABULARY_FILE = "vocab.txt"
CONTINUATION = "##"


class Word(NamedTuple):
    """A word of a text, as the text spells it, and where its pieces stand among the text's ids."""

    text: str
    places: list[int]


class WordPiece:
    """Texts to ids and back.

    A text that spells a special token, e.g. ``[SEP]``, is split like any other: no text can forge one.

    Args:
        vocabulary: the tokens in the order of their ids; [DEC] and [ENC] are appended where missing.
        lowercase: lower-case texts and strip accents, as BERT uncased does.
        max_length: longest sequence in tokens, special tokens included; longer texts are cut, keeping [SEP].
    """

    def __init__(self, vocabulary: Sequence[str], *, lowercase: bool = True, max_length: int = 30) -> None:
        self.vocabulary = [*vocabulary, *(token for token in (DECODE, ENCODE) if token not in vocabulary)]
        ids = {token: index for index, token in enumerate(self.vocabulary)}
        self.vocab_size = len(self.vocabulary)
        self.max_length = max_length
        self.lowercase = lowercase
        self.pad_id, self.start_id, self.end_id = ids["[PAD]"], ids["[CLS]"], ids["[SEP]"]
        self.decode_id, self.encode_id = ids[DECODE], ids[ENCODE]
        self.mask_id = ids.get(MASK)
        self._special_ids = {ids[token] for token in SPECIAL if token in ids}
        self._tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
        self._tokenizer.normalizer = normalizer(lowercase)
        self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._decoder = decoders.WordPiece()

    def __call__(self, texts: Sequence[str], *, end: bool = True) -> tuple[Tensor, Tensor]:
        """Return ids ``(T, L)`` int64, [CLS] first, padded on the right, and mask ``(T, L)`` bool."""
        room = self.max_length - (2 if end else 1)
        closing = [self.end_id] if end else []
        encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        rows = [[self.start_id, *encoding.ids[:room], *closing] for encoding in encoded]
        longest = max(map(len, rows), default=0)
        # On the CPU also where a model is built on another default device, such as "meta".
        padded = [row + [self.pad_id] * (longest - len(row)) for row in rows]
        ids = torch.tensor(padded, dtype=torch.long, device="cpu").view(len(rows), longest)
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.long, device="cpu")
        return ids, torch.arange(longest, device="cpu")[None, :] < lengths[:, None]

    def words(self, text: str) -> list[Word]:
        """The words of which ``__call__`` keeps a piece; signs between words are words of their own."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        pieces = zip(range(1, len(encoding) + 1), encoding.word_ids, encoding.offsets, strict=True)
        found = []
        for _, group in groupby(pieces, key=lambda piece: piece[1]):
            places, _, spans = zip(*group, strict=True)
            found.append(
                Word(text[spans[0][0] : spans[-1][1]], [p for p in places if p < self.max_length - 1])
            )
        return [word for word in found if word.places]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of one sequence, special tokens left out.

        A piece that goes on with a word is joined to what stands before it. Where that is nothing, as where a
        model begins a caption so, it becomes the word: transformers would leave its ``##`` in the text.
        """
        tokens = [self.vocabulary[index] for index in ids if index not in self._special_ids]
        if tokens:
            tokens[0] = tokens[0].removeprefix(CONTINUATION)
        return self._decoder.decode(tokens)

    def save(self, folder: Path) -> None:
        """Write the vocabulary into ``folder``."""
        (Path(folder) / VOCABULARY_FILE).write_text("\n".join(self.vocabulary) + "\n", encoding="utf-8")


def normalizer(lowercase: bool) -> normalizers.Normalizer:
    """BERT's clean-up of a text; accents go when letters are lower-cased."""
    return normalizers.BertNormalizer(lowercase=lowercase)


def wordpiece(*, vocab: Path, lowercase: bool = True, max_length: int = 30) -> WordPiece:
    """Build the tokenizer from a BERT vocabulary file: UTF-8, one token a line, or a ``tokenizer.json``.

    Raises DataError when the file can't be read, names a token twice or lacks a special token.
    """
    return WordPiece(read_vocabulary(vocab), lowercase=lowercase, max_length=max_length)


def read_vocabulary(path: Path) -> list[str]:
    """The tokens of a vocabulary file in the order of their ids. Raises DataError as ``wordpiece`` says."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise DataError(f"vocabulary {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"vocabulary {path}: not UTF-8 at byte {error.start}") from error
    # Not splitlines: a vocabulary may hold other characters that Unicode calls line ends.
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if path.suffix == ".json":
        lines = _tokens_of_json(text, path)
    first_line: dict[str, int] = {}
    for number, token in enumerate(lines, start=1):
        if not token:
            raise DataError(f"vocabulary {path}:{number}: empty line; expected one token a line")
        if token in first_line:
            raise DataError(f"vocabulary {path}:{number}: {token!r} again, first in line {first_line[token]}")
        first_line[token] = number
    missing = [token for token in REQUIRED if token not in first_line]
    if missing:
        raise DataError(f"vocabulary {path}: lacks {', '.join(missing)}, which a BERT vocabulary has")
    return lines


def _tokens_of_json(text: str, path: Path) -> list[str]:
    """The tokens of a WordPiece tokenizer that the tokenizers library wrote, in the order of their ids."""
    try:
        content = json.loads(text)
        ids = dict(content["model"]["vocab"])
        ids |= {token["content"]: token["id"] for token in content.get("added_tokens") or ()}
        continuation = content["model"]["continuing_subword_prefix"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"vocabulary {path}: no WordPiece tokenizer ({type(error).__name__} {error})"
        ) from error
    if continuation != CONTINUATION or sorted(ids.values()) != list(range(len(ids))):
        raise DataError(f"vocabulary {path}: no WordPiece tokenizer whose ids are 0 to {len(ids) - 1}")
    return sorted(ids, key=lambda token: ids[token])
