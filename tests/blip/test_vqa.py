"""The head that answers questions, with random weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from mmtk_blip.configs import MedBertConfig
from mmtk_blip.heads.vqa import VqaHead
from mmtk_blip.image_encoder import timm_vit
from mmtk_blip.losses import LabelSmoothing
from mmtk_blip.med import Med
from mmtk_blip.questions import VqaPair, parted
from mmtk_blip.text_transformer import TextTransformer, first_token_replaced
from torch import nn

from mmtk.errors import DataError, SampleError
from mmtk.types import Decoding

from .parts import batch, spread_weights, state, tokenizer

TEXTS = (
    "a cat on the tree? red cat",
    "the dog? big",
    "is a small house near the big green car? a house",
    "owl? the owl",
)
QUESTIONS = [text.partition("?")[0] + "?" for text in TEXTS]


@pytest.fixture(scope="module")
def model() -> Med:
    torch.manual_seed(0)
    words = tokenizer()
    transformer = TextTransformer(
        vocab_size=words.vocab_size,
        image_width=24,
        width=16,
        depth=2,
        heads=2,
        hidden_width=32,
        max_positions=32,
        dropout=0.0,
        sharing="none",
        decoder_reads="question",
    )
    model = Med(
        image_encoder=timm_vit(image_size=32, patch_size=16, width=24, depth=1, heads=2),
        text_transformer=transformer,
        tokenizer=words,
        embed_dim=8,
    )
    return spread_weights(model).eval()


@pytest.fixture(scope="module")
def head(model: Med) -> VqaHead:
    torch.manual_seed(1)
    return spread_weights(
        VqaHead(text_width=16, vocab_size=model.tokenizer.vocab_size, loss=LabelSmoothing(0.1))
    )


def logits_of_one(
    model: Med, head: VqaHead, number: int, images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of one answer's tokens and the tokens themselves, without any padding."""
    question, answer = parted(TEXTS[number])
    encoding = model.encode_images(images[number : number + 1])
    ids, mask = model.tokenizer([question])
    grounded = model.text_transformer.ground(
        first_token_replaced(ids, model.tokenizer.encode_id), mask, encoding.keys_values("encoder")
    )
    source = model.text_transformer.image_keys_values(grounded, "decoder")
    answer_ids, _ = model.tokenizer([answer])
    states = model.text_transformer.decode(
        first_token_replaced(answer_ids, model.tokenizer.decode_id), source
    )
    return head.logits(model, states[0, :-1]), answer_ids[0, 1:]


def test_the_loss_sums_an_answers_tokens_and_averages_over_answers(model: Med, head: VqaHead) -> None:
    data = batch(TEXTS)
    expected = torch.zeros(())
    for number in range(len(TEXTS)):
        logits, targets = logits_of_one(model, head, number, data.images)
        expected += F.cross_entropy(logits, targets, label_smoothing=0.1, reduction="sum")
    found = head(model.context(data, state())).loss
    torch.testing.assert_close(found, expected / len(TEXTS), rtol=1e-5, atol=1e-5)


def test_every_parameter_that_answers_gets_a_gradient(model: Med, head: VqaHead) -> None:
    head(model.context(batch(TEXTS), state())).loss.backward()
    unused = {"image_projection", "text_projection", "temperature"}
    for name, parameter in [*model.named_parameters(), *head.named_parameters()]:
        assert (parameter.grad is None) == (name.partition(".")[0] in unused), name
    nn.ModuleList([model, head]).zero_grad()


@pytest.mark.parametrize("beams", [1, 3])
def test_an_answer_depends_on_its_question_alone(model: Med, head: VqaHead, beams: int) -> None:
    images = batch(TEXTS).images
    decoding = Decoding(beams=beams, min_length=1, max_length=8)
    together = head.answer(model.encode_images(images), QUESTIONS, decoding)
    alone = [
        head.answer(model.encode_images(images[number : number + 1]), [question], decoding)[0]
        for number, question in enumerate(QUESTIONS)
    ]
    assert together == alone
    other = head.answer(model.encode_images(images), QUESTIONS[::-1], decoding)
    assert other != together


def test_a_text_without_question_or_answer_is_named() -> None:
    assert parted("is it red? yes? no") == ("is it red?", "yes? no")
    for text in ("a red cat", "what is it?", "? yes"):
        with pytest.raises(DataError, match="expected a text 'QUESTION"):
            VqaPair()(text)


def test_the_head_names_the_sample_and_the_way_out(model: Med, head: VqaHead) -> None:
    with pytest.raises(SampleError, match="vqa_pair") as error:
        head(model.context(batch(("a red cat",)), state()))
    assert error.value.key == "sample0"


def test_questions_are_cleaned_as_the_public_code_does() -> None:
    assert VqaPair(max_words=4)('Is "it" Red: or (big) too?  Very  RED') == "is it red or? very red"
    with pytest.raises(DataError, match="empty question"):
        VqaPair()("...? yes")


def test_a_shared_cross_attention_reads_images() -> None:
    assert list(MedBertConfig(decoder_reads="question", sharing="none").check()) == []
    (fault,) = MedBertConfig(decoder_reads="question").check()
    assert fault[0] == "sharing"
