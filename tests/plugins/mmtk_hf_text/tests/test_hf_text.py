"""A German tokenizer, and text encoders of two layouts, from folders that the tests write."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from mmtk_hf_text.text import HfText, HfTokenizer
from transformers import AutoConfig, AutoModel, ModernBertConfig, PreTrainedTokenizerFast

from mmtk.api import DataError, RecipeError

MAKE = runpy.run_path(str(Path(__file__).with_name("make_german.py")))
LAYOUTS = ("roberta", "modernbert")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf")
    tokenizer = MAKE["train_tokenizer"]()
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2}
    modernbert = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
        **ids,
    )
    for name, config in (("roberta", MAKE["roberta"](len(tokenizer))), ("modernbert", modernbert)):
        tokenizer.save_pretrained(folder / name)
        config.save_pretrained(folder / name)
    return folder


@pytest.fixture
def tokenizer(folders: Path) -> HfTokenizer:
    return HfTokenizer(folder=folders / "roberta", max_length=8)


class TestTokenizer:
    def test_german_comes_back_as_it_went_in(self, tokenizer: HfTokenizer) -> None:
        texts = ["schildkröte", "grüner apfel", "日"]
        ids, mask = tokenizer(texts)
        assert (ids[:, 0] == tokenizer.start_id).all()
        assert torch.equal(mask.sum(1), (ids != tokenizer.pad_id).sum(1))
        for text, row, real in zip(texts, ids, mask, strict=True):
            assert row[real][-1] == tokenizer.end_id
            assert tokenizer.decode(row.tolist()).strip() == text

    def test_words_of_the_training_have_few_pieces(self, tokenizer: HfTokenizer) -> None:
        _, mask = tokenizer(["schwein", "qxzvwjy"])
        german, noise = mask.sum(1).tolist()
        assert german < noise

    def test_long_texts_are_cut_and_keep_their_end(self, tokenizer: HfTokenizer) -> None:
        ids, mask = tokenizer(["wildschwein und krokodil und giraffe und noch mehr", "ei"])
        assert ids.shape[1] == 8
        assert ids[0, -1] == tokenizer.end_id
        assert not mask[1].all()
        prompt, _ = tokenizer(["ei"], end=False)
        assert torch.equal(prompt[0], ids[1, : prompt.shape[1]])
        assert tokenizer([])[0].shape == (0, 0)

    def test_no_text_forges_a_special_token(self, folders: Path) -> None:
        tokenizer = HfTokenizer(folder=folders / "roberta", max_length=60)
        ids, _ = tokenizer(["</s> <pad> [ENC] [DEC] <mask>"])
        special = {tokenizer.pad_id, tokenizer.mask_id, tokenizer.encode_id, tokenizer.decode_id}
        assert special.isdisjoint(ids[0].tolist())
        assert (ids[0] == tokenizer.end_id).sum() == 1

    def test_it_is_saved_and_read_again(self, tokenizer: HfTokenizer, tmp_path: Path) -> None:
        tokenizer.save(tmp_path)
        again = HfTokenizer(folder=tmp_path, max_length=8)
        assert vars(again).keys() == vars(tokenizer).keys()
        for name in ("vocab_size", "pad_id", "start_id", "encode_id", "decode_id", "end_id", "mask_id"):
            assert getattr(again, name) == getattr(tokenizer, name)
        assert torch.equal(again(["bär"])[0], tokenizer(["bär"])[0])

    def test_training_it_again_gives_the_same(self, folders: Path) -> None:
        stored = (folders / "roberta" / "tokenizer.json").read_text("utf-8")
        assert MAKE["train_tokenizer"]().backend_tokenizer.to_str(pretty=True) == stored

    def test_a_folder_without_one_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="transformers can't open"):
            HfTokenizer(folder=tmp_path)
        inner = MAKE["train_tokenizer"]().backend_tokenizer
        PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>").save_pretrained(tmp_path)
        with pytest.raises(DataError, match="has no token for padding, a text's start or its end"):
            HfTokenizer(folder=tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
class TestEncoder:
    def build(self, folder: Path, tokenizer: HfTokenizer) -> HfText:
        torch.manual_seed(0)
        return HfText(folder=folder, vocab_size=tokenizer.vocab_size, image_width=12).eval()

    def test_padding_changes_nothing(self, folders: Path, layout: str, tokenizer: HfTokenizer) -> None:
        encoder = self.build(folders / layout, tokenizer)
        image = encoder.image_keys_values(torch.randn(2, 3, 12), "encoder")
        both, mask = tokenizer(["ei", "grüner apfel"])
        alone, own = tokenizer(["ei"])
        count = alone.shape[1]
        torch.testing.assert_close(encoder.encode(both, mask)[0, :count], encoder.encode(alone, own)[0])
        grounded = encoder.ground(both, mask, image)[0, :count]
        torch.testing.assert_close(
            grounded, encoder.ground(alone, own, [image[0].select(torch.tensor([0]))])[0]
        )

    def test_each_text_sees_the_image_that_is_named(
        self, folders: Path, layout: str, tokenizer: HfTokenizer
    ) -> None:
        encoder = self.build(folders / layout, tokenizer)
        (seen,) = encoder.image_keys_values(torch.randn(3, 4, 12), "encoder")
        ids, mask = tokenizer(["ei", "bär", "hund", "ei"])
        rows = torch.tensor([2, 0, 0, 1])
        grounded = encoder.ground(ids, mask, [seen], rows)
        torch.testing.assert_close(grounded, encoder.ground(ids, mask, [seen.select(rows)]))
        assert not torch.allclose(grounded[0], grounded[3])  # one text, two images
        two = seen.select(torch.tensor([0, 1]))
        in_turn = encoder.ground(ids, mask, [two])  # two consecutive texts an image
        torch.testing.assert_close(
            in_turn, encoder.ground(ids, mask, [two.select(torch.tensor([0, 0, 1, 1]))])
        )

    def test_every_parameter_learns(self, folders: Path, layout: str, tokenizer: HfTokenizer) -> None:
        encoder = self.build(folders / layout, tokenizer)
        (seen,) = encoder.image_keys_values(torch.randn(1, 4, 12), "encoder")
        encoder.ground(*tokenizer(["bär"]), [seen]).square().sum().backward()
        assert [name for name, one in encoder.named_parameters() if one.grad is None] == []
        assert {*encoder.text_encoder().parameters()} < {*encoder.parameters()}

    def test_weights_in_the_folder_are_where_it_starts(
        self, folders: Path, layout: str, tokenizer: HfTokenizer, tmp_path: Path
    ) -> None:
        network: Any = AutoModel.from_pretrained(self.with_weights(folders / layout, tmp_path))
        encoder = self.build(tmp_path, tokenizer)
        words = network.get_input_embeddings().weight
        kept: Any = encoder.network.get_input_embeddings().weight  # type: ignore[operator]
        assert len(kept) == tokenizer.vocab_size == len(words) + 2  # [ENC] and [DEC]
        torch.testing.assert_close(kept[: len(words)], words)

    def with_weights(self, source: Path, folder: Path) -> Path:
        AutoModel.from_config(AutoConfig.from_pretrained(source)).save_pretrained(folder)
        return folder


def test_a_folder_without_a_config_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="hf_text: transformers can't open"):
        HfText(folder=tmp_path, vocab_size=10, image_width=4)
