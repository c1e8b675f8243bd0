"""transformers' BLIP with the same random weights: features, logits and captions."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from mmtk_blip.generation import nucleus
from mmtk_blip.heads.itm import ItmHead
from mmtk_blip.heads.vqa import VqaHead
from mmtk_blip.losses import CrossEntropy, LabelSmoothing
from mmtk_blip.text_transformer import first_token_replaced
from torch import Tensor
from transformers import BlipForConditionalGeneration, BlipForImageTextRetrieval, BlipForQuestionAnswering
from transformers.generation import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from benchmarks.transformers_blip import (
    Sizes,
    learner,
    spread,
    take_weights,
    transformers_captioner,
    transformers_config,
    written,
)
from mmtk.engine.learner import Learner
from mmtk.types import Decoding

from .parts import next_in_batch

SIZES = Sizes(image_size=32, patch_size=8, width=32, depth=2, heads=4, vocab_size=130)
STD = 0.3  # large enough that every picture gets its own caption
END = 102
COUNT = 12


@dataclasses.dataclass(frozen=True)
class Pair:
    ours: Learner
    theirs: BlipForConditionalGeneration
    images: Tensor

    def write(self, decoding: Decoding, seed: int = 0) -> list[list[int]]:
        images = self.ours.model.encode_images(self.images)
        return self.ours.heads["lm"].generate_ids(images, decoding, torch.Generator().manual_seed(seed))

    def write_theirs(self, decoding: Decoding, **options: object) -> list[list[int]]:
        prompt, _ = self.ours.model.tokenizer([decoding.prompt])
        rows = self.theirs.generate(
            pixel_values=self.images,
            input_ids=prompt.repeat(len(self.images), 1),
            num_beams=decoding.beams if decoding.method == "beam" else 1,
            do_sample=decoding.method == "nucleus",
            min_length=decoding.min_length,
            max_length=decoding.max_length,
            repetition_penalty=decoding.repetition_penalty,
            **options,
        )
        return written(rows, END, prompt.shape[1] - 1)


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair(end_bonus=3)


def make_pair(end_bonus: float) -> Pair:
    """``end_bonus`` is added to the logit of the end, which random weights would hardly ever choose."""
    theirs = transformers_captioner(SIZES, STD, seed=5)
    with torch.no_grad():
        theirs.text_decoder.cls.predictions.bias[END] += end_bonus
    ours = learner(SIZES).eval()
    take_weights(ours, theirs)
    return Pair(ours, theirs, pictures())


def pictures() -> Tensor:
    return torch.randn(COUNT, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def lengths(captions: list[list[int]]) -> set[int]:
    return {len(caption) for caption in captions}


@torch.no_grad()
def test_logits_of_the_next_words(pair: Pair) -> None:
    ids = torch.randint(110, 128, (COUNT, 9), generator=torch.Generator().manual_seed(1))
    model = pair.ours.model
    ids = first_token_replaced(ids, model.tokenizer.decode_id)
    states = model.text_transformer.decode(ids, model.encode_images(pair.images).keys_values("decoder"))
    found = pair.ours.heads["lm"].logits(model, states)
    expected = pair.theirs(pixel_values=pair.images, input_ids=ids).logits
    assert expected.std() > 1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("prompt", ["", "a picture of"])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_captions(pair: Pair, prompt: str, penalty: float) -> None:
    decoding = Decoding(beams=1, prompt=prompt, max_length=16, repetition_penalty=penalty)
    found = pair.write(decoding)
    assert found == pair.write_theirs(decoding)
    assert len(set(map(tuple, found))) > COUNT / 3
    assert len(lengths(found)) > 1


@pytest.mark.parametrize("prompt", ["", "a picture of"])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_beam_search_over_captions_of_one_length(pair: Pair, prompt: str, penalty: float) -> None:
    """Where the two beam searches agree whatever is written; see ``beam_search``."""
    decoding = Decoding(beams=3, prompt=prompt, min_length=14, max_length=14, repetition_penalty=penalty)
    found = pair.write(decoding)
    assert found == pair.write_theirs(decoding)
    assert lengths(found) == {14}
    assert found != pair.write(dataclasses.replace(decoding, beams=1))


def test_beam_search_over_captions_that_end() -> None:
    """transformers 5 stops a little earlier, so that it misses a better caption now and then."""
    pair = make_pair(end_bonus=5)
    decoding = Decoding(beams=3, min_length=3, max_length=20)
    found, expected = pair.write(decoding), pair.write_theirs(decoding)
    assert len(lengths(found)) > 1
    assert max(lengths(found)) < 20
    others = [row for row in range(COUNT) if found[row] != expected[row]]
    assert 0 < len(others) <= COUNT / 4
    for row in others:
        ours, theirs = (mean_log_probability(pair, row, ids) for ids in (found[row], expected[row]))
        assert ours > theirs


@torch.no_grad()
def mean_log_probability(pair: Pair, row: int, ids: list[int]) -> float:
    """Of the tokens behind [DEC], the end with them, in transformers' eyes."""
    caption = torch.tensor([[*ids, END]])
    logits = pair.theirs(pixel_values=pair.images[row : row + 1], input_ids=caption).logits[:, :-1]
    return logits.log_softmax(-1).gather(2, caption[:, 1:, None]).mean().item()


KINDS = [
    {"top_p": 0.9},
    {"top_p": 0.6, "temperature": 1.7},
    {"top_p": 1.0, "top_k": 5},
    {"top_p": 0.7, "top_k": 20, "temperature": 0.8},
]


@pytest.mark.parametrize("keys", KINDS)
@pytest.mark.parametrize("steepness", [0.1, 2.0, 6.0])
def test_what_is_drawn_from(keys: dict, steepness: float) -> None:
    """Over all but even probabilities, where a nucleus is most of the vocabulary, and over steep ones."""
    logits = torch.randn(20, 3000, generator=torch.Generator().manual_seed(0)) * steepness
    decoding = Decoding(method="nucleus", **keys)
    masses, tokens = nucleus(logits, decoding)
    found = torch.zeros_like(logits).scatter(1, tokens, masses)
    processors = LogitsProcessorList([TemperatureLogitsWarper(decoding.temperature)])
    if decoding.top_k is not None:
        processors.append(TopKLogitsWarper(decoding.top_k))
    if decoding.top_p < 1:
        processors.append(TopPLogitsWarper(decoding.top_p))
    expected = processors(torch.empty(20, 0, dtype=torch.long), logits).softmax(-1)
    assert torch.equal(found > 0, expected > 0)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("keys", [*KINDS, {"top_p": 0.9, "repetition_penalty": 1.3}])
@pytest.mark.parametrize("prompt", ["", "a picture of"])
def test_sampled_captions(pair: Pair, keys: dict, prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers draws by our random numbers: the token at which the cumulated mass passes the number."""
    decoding = Decoding(method="nucleus", prompt=prompt, max_length=16, **keys)
    draws = torch.rand(COUNT, 16, generator=torch.Generator().manual_seed(5))
    places = iter(range(4 if prompt else 1, 16))

    def draw(masses: Tensor, num_samples: int) -> Tensor:
        assert num_samples == 1
        masses, order = masses.sort(dim=-1, descending=True)
        rank = torch.searchsorted(masses.cumsum(-1), draws[:, next(places), None].contiguous(), right=True)
        return order.gather(1, rank)

    found = pair.write(decoding, seed=5)
    monkeypatch.setattr(torch, "multinomial", draw)
    options = {"top_k": decoding.top_k or 0, "top_p": decoding.top_p, "temperature": decoding.temperature}
    assert found == pair.write_theirs(decoding, **options)
    assert len(lengths(found)) > 1


@torch.no_grad()
def test_retrieval() -> None:
    """Image tokens, features and matching logits; transformers is given [ENC], where it would keep [CLS]."""
    torch.manual_seed(4)
    theirs = spread(BlipForImageTextRetrieval(transformers_config(SIZES)), STD).eval()
    itm = ItmHead(text_width=SIZES.width, loss=CrossEntropy(), negatives=next_in_batch(COUNT))
    ours = learner(SIZES, {"itm": itm}).eval()
    take_weights(ours, theirs)
    words = ["picture", "of", "a"]
    texts = [" ".join(words[: 1 + number % 3]) for number in range(COUNT)]
    images, text = ours.model.encode_images(pictures()), ours.model.encode_texts(texts)
    inputs = {"pixel_values": pictures(), "attention_mask": text.mask.long()}

    expected = theirs(input_ids=text.ids, use_itm_head=False, **inputs)
    close(images.embeds, expected.last_hidden_state)
    close(images.features @ text.features.T, expected.itm_score)

    grounded = first_token_replaced(text.ids, ours.model.tokenizer.encode_id)
    close(itm.match_logits(images, text), theirs(input_ids=grounded, **inputs).itm_score)


@pytest.mark.parametrize("beams", [1, 3])
def test_answers(beams: int) -> None:
    """Questions of one length, since transformers would read their padding; with [ENC] as above."""
    torch.manual_seed(6)
    theirs = spread(BlipForQuestionAnswering(transformers_config(SIZES)), STD).eval()
    head = VqaHead(text_width=SIZES.width, vocab_size=SIZES.vocab_size, loss=LabelSmoothing(0.1))
    ours = learner(SIZES, {"vqa": head}, "none", "question").eval()
    take_weights(ours, theirs)
    tokenizer = ours.model.tokenizer
    questions = [f"word{110 + number} of picture word{120 - number}" for number in range(COUNT)]
    ids = first_token_replaced(tokenizer(questions)[0], tokenizer.encode_id)
    assert ids.shape == (COUNT, 6)
    rows = theirs.generate(ids, pictures(), num_beams=beams, do_sample=False, min_length=8, max_length=8)
    expected = [tokenizer.decode(row) for row in written(rows, END, 1)]
    images = ours.model.encode_images(pictures())
    found = head.answer(images, questions, Decoding(beams=beams, min_length=8, max_length=8))
    assert found == expected
    assert len(set(found)) > 2


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
