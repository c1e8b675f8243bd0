"""The stage that trains a WordPiece vocabulary on the texts of datasets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from mmtk.api import Blueprint, DataError, Reader, StageContext, StageError, TextTransform
from mmtk_blip.configs import TrainWordpieceConfig
from mmtk_blip.tokenizer import CONTINUATION, SPECIAL, normalizer

MOST_CHARACTERS = 1000


class TrainWordpiece:
    """Reads every text of ``texts`` and writes the vocabulary."""

    def __init__(
        self,
        *,
        texts: Sequence[Blueprint[Reader]],
        text_transform: Blueprint[TextTransform],
        vocab_size: int,
        min_frequency: int,
        lowercase: bool,
    ) -> None:
        self._readers = texts
        self._transform = text_transform
        self._vocab_size = vocab_size
        self._min_frequency = min_frequency
        self._lowercase = lowercase

    def run(self, context: StageContext) -> None:
        """Write ``vocab.txt``. Raises StageError when no text can be read."""
        skipped: Counter[str] = Counter()
        readers = [blueprint.build() for blueprint in self._readers]
        texts = [text for reader in readers for text in self._texts(reader, skipped)]
        if not texts:
            refused = [entry for reader in readers for entry in reader.quarantined]
            reason = f" ({refused[0].key}: {refused[0].reason})" if refused else ""
            raise StageError(f"none of the datasets in texts holds a text that can be read{reason}")
        vocabulary = train_vocabulary(
            texts, vocab_size=self._vocab_size, min_frequency=self._min_frequency, lowercase=self._lowercase
        )
        path = context.folder / TrainWordpieceConfig.OUTPUTS["vocabulary"].path
        path.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
        left_out = "".join(f", {count} {what} left out" for what, count in sorted(skipped.items()) if count)
        context.say(f"{len(vocabulary)} tokens from {len(texts)} texts{left_out}")

    def stand_in(self, folder: Path) -> None:
        """Write a vocabulary of made-up tokens that is as large as it may become."""
        made_up = (f"[unused{number}]" for number in range(self._vocab_size - len(SPECIAL)))
        path = folder / TrainWordpieceConfig.OUTPUTS["vocabulary"].path
        path.write_text("\n".join([*SPECIAL, *made_up]) + "\n", encoding="utf-8")

    def _texts(self, reader: Reader, skipped: Counter[str]) -> Iterator[str]:
        transform = self._transform.build()
        skipped["samples"] += len(reader.quarantined)
        for index in range(len(reader)):
            try:
                sample = reader[index]
            except DataError:
                skipped["samples"] += 1
                continue
            for text in sample.texts:
                try:
                    yield transform(text)
                except DataError:
                    skipped["texts"] += 1


def train_vocabulary(
    texts: Iterable[str], *, vocab_size: int, min_frequency: int, lowercase: bool = True
) -> list[str]:
    """Return a WordPiece vocabulary: special tokens, characters, then pieces in the order they were merged.

    The same texts give the same vocabulary. Characters are kept whatever ``vocab_size`` says, the 1,000 most
    frequent ones.
    """
    texts = list(texts)
    alphabet = _alphabet(texts, lowercase)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizer(lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        show_progress=False,
        # The trainer numbers continued characters in the order of a randomly seeded hash map and breaks ties
        # by these numbers; naming them beforehand makes its result reproducible.
        special_tokens=[*SPECIAL, *(CONTINUATION + character for character in alphabet)],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        continuing_subword_prefix=CONTINUATION,
    )
    tokenizer.train_from_iterator(texts, trainer)
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary, key=lambda token: vocabulary[token])


def _alphabet(texts: Iterable[str], lowercase: bool) -> list[str]:
    clean = normalizer(lowercase)
    counts = Counter(character for text in texts for character in clean.normalize_str(text))
    visible = [character for character in counts if not character.isspace()]
    ranked = sorted(visible, key=lambda character: (-counts[character], character))
    return sorted(ranked[:MOST_CHARACTERS])
