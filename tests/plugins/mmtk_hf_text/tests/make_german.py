"""Write what recipe.yaml reads: emoji with German names, a tokenizer trained on them, and a RoBERTa's layout.

Usage: python make_german.py FOLDER
"""

from __future__ import annotations

import sys
from collections import defaultdict
from importlib.resources import files
from pathlib import Path

import pyarrow.parquet as pq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, RobertaConfig

from mmtk.api import RawSample, ShardWriter

NAMES = dict(
    line.split("\t") for line in Path(__file__).with_name("german.tsv").read_text("utf-8").splitlines()
)
SPECIAL = {
    "bos_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
VOCABULARY = 420


def write_shards(folder: Path) -> None:
    """Write one picture of each German name that has several to ``test``, and all others to ``train``."""
    pictures: dict[str, list[RawSample]] = defaultdict(list)
    for sample in emoji():
        pictures[sample.texts[0]].append(sample)
    with ShardWriter(folder / "train", "train") as train, ShardWriter(folder / "test", "test") as test:
        for samples in pictures.values():
            held_out = samples[2:3]
            for sample in samples:
                (test if sample in held_out else train).write(sample)


def emoji() -> list[RawSample]:
    """The pictures of the shipped emoji set that have a German name, with it."""
    data = Path(str(files("mmtk_emoji"))) / "data"
    truth = pq.read_table(data / "truth.parquet").to_pylist()
    names = {row["key"]: NAMES[row["label"]] for row in truth if row["label"] in NAMES}
    splits = sorted({row["split"] for row in truth})
    rows = [row for split in splits for row in pq.read_table(data / f"{split}.parquet").to_pylist()]
    return [
        RawSample(key=row["key"], image=row["image"], texts=(names[row["key"]],), image_id=row["key"])
        for row in rows
        if row["key"] in names
    ]


def train_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of the German names; every text of any language has its pieces."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([name.lower() for name in NAMES.values()], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)


def roberta(vocab_size: int) -> RobertaConfig:
    """A RoBERTa of two narrow layers; its padding is the tokenizer's, 1."""
    return RobertaConfig(
        vocab_size=vocab_size,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=256,
        max_position_embeddings=34,
        initializer_range=0.1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_shards(folder)
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(folder / "roberta")
    roberta(len(tokenizer)).save_pretrained(folder / "roberta")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
