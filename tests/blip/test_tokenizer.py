"""The WordPiece tokenizer: transformers' BERT tokenizer as reference, and what vocabularies are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmtk_blip.tokenizer import WordPiece, read_vocabulary, wordpiece
from transformers import BertTokenizer

from mmtk.errors import DataError

from .parts import VOCABULARY, tokenizer

BERT_VOCABULARY = Path(__file__).parents[1] / "golden" / "vocab.txt"


@pytest.fixture(scope="module")
def bert() -> WordPiece:
    return wordpiece(vocab=BERT_VOCABULARY, max_length=30)


@pytest.fixture(scope="module")
def reference() -> BertTokenizer:
    return BertTokenizer(str(BERT_VOCABULARY))


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=60).filter(lambda text: "[" not in text))
def test_ids_are_transformers(bert: WordPiece, reference: BertTokenizer, text: str) -> None:
    ids, mask = bert([text])
    assert ids[0].tolist() == reference(text, truncation=True, max_length=30).input_ids
    assert mask.all()


def test_a_batch_is_padded_to_its_longest_text(bert: WordPiece, reference: BertTokenizer) -> None:
    texts = ["an owl", "Two dogs, playing; with BALLS!", "word " * 40]
    ids, mask = bert(texts)
    expected = reference(texts, truncation=True, max_length=30, padding="longest", return_tensors="pt")
    assert ids.dtype == torch.int64
    assert mask.dtype == torch.bool
    assert torch.equal(ids, expected.input_ids)
    assert torch.equal(mask, expected.attention_mask.bool())
    assert ids[2, -1] == bert.end_id


def test_mask_is_optional(bert: WordPiece) -> None:
    assert bert.mask_id == 103
    assert bert.vocabulary[103] == "[MASK]"
    assert tokenizer().mask_id is None


def test_blips_tokens_follow_berts_vocabulary(bert: WordPiece) -> None:
    assert (bert.decode_id, bert.encode_id, bert.vocab_size) == (30522, 30523, 30524)
    assert (bert.pad_id, bert.start_id, bert.end_id) == (0, 101, 102)


def test_blips_tokens_are_kept_where_the_vocabulary_has_them() -> None:
    words = WordPiece(["[DEC]", *VOCABULARY])
    assert words.decode_id == 0
    assert words.encode_id == len(VOCABULARY) + 1
    assert words.vocab_size == len(VOCABULARY) + 2


def test_a_prompt_ends_without_sep() -> None:
    words = tokenizer()
    ids, _ = words(["a red cat"], end=False)
    ended, _ = words(["a red cat"])
    assert ids[0].tolist() == ended[0, :-1].tolist()
    assert ids[0, 0] == words.start_id
    assert words([""], end=False)[0].tolist() == [[words.start_id]]


@given(
    st.lists(st.sampled_from(["a red cat", "owl", "", "the big blue dogs on a car"]), max_size=4),
    st.integers(3, 8),
)
def test_lengths_and_masks(texts: list[str], max_length: int) -> None:
    words = tokenizer(max_length)
    ids, mask = words(texts)
    assert ids.shape == mask.shape
    assert ids.shape[0] == len(texts)
    assert ids.shape[1] <= max_length
    assert torch.equal(ids == words.pad_id, ~mask)
    for row, keep in zip(ids, mask, strict=True):
        assert row[0] == words.start_id
        assert row[keep][-1] == words.end_id


def test_a_text_cannot_forge_special_tokens() -> None:
    words = tokenizer()
    ids, _ = words(["a cat [SEP] [DEC] owl"])
    assert (ids == words.end_id).sum() == 1
    assert not (ids == words.decode_id).any()


def test_decoding_joins_pieces_and_drops_special_tokens() -> None:
    words = tokenizer()
    ids, _ = words(["The BIG cats [near] a tree"])
    assert words.decode(ids[0].tolist()) == "the big cats near a tree"
    assert words.decode([words.decode_id, words.pad_id, words.end_id]) == ""


def test_a_text_does_not_begin_with_the_mark_of_a_piece() -> None:
    words = tokenizer()
    piece, cat = words.vocabulary.index("##s"), words.vocabulary.index("cat")
    assert words.decode([words.decode_id, piece, cat, piece, words.end_id]) == "s cats"
    assert words.decode([piece]) == "s"


def test_case_is_kept_on_request() -> None:
    words = WordPiece([*VOCABULARY, "Cat"], lowercase=False)
    assert words.decode(words(["Cat cat"])[0][0].tolist()) == "Cat cat"


def test_saved_vocabulary_loads_to_the_same_tokenizer(tmp_path: Path) -> None:
    words = tokenizer()
    words.save(tmp_path)
    loaded = wordpiece(vocab=tmp_path / "vocab.txt")
    assert loaded.vocabulary == words.vocabulary
    assert loaded.decode_id == words.decode_id


def test_lines_end_at_newlines_only(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes("[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\na\u2028b\r\n".encode())
    assert read_vocabulary(path) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a\u2028b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[PAD]\n[CLS]\na\n", r"vocab.txt: lacks \[UNK\], \[SEP\], which a BERT vocabulary has"),
        (b"[PAD]\n[UNK]\ncat\ndog\ncat\n", r"vocab.txt:5: 'cat' again, first in line 3"),
        (b"[PAD]\n\n[UNK]\n", r"vocab.txt:2: empty line; expected one token a line"),
        (b"[PAD]\n\xff\n", r"vocab.txt: not UTF-8 at byte 6"),
        (b"", r"vocab.txt:1: empty line"),
    ],
)
def test_refused_vocabularies(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        wordpiece(vocab=tmp_path / "vocab.txt")


def test_a_missing_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt: No such file"):
        wordpiece(vocab=tmp_path / "none.txt")
