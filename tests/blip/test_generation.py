"""Caption writing against plain references that neither batch nor cache."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmtk_blip.generation import beam_search, nucleus, sample
from mmtk_blip.text_transformer import first_token_replaced
from torch import Tensor

from mmtk.engine.learner import Learner
from mmtk.errors import RecipeError
from mmtk.types import Decoding

from .parts import batch, tiny_learner

VOCAB, END, START = 9, 3, 1
NextLogits = Callable[[list[int]], Tensor]


class Language:
    """A random language: logits of the next token that depend on all tokens before it."""

    def __init__(self, seed: int, end_bonus: float = 0.0) -> None:
        self.seed = seed
        self.end_bonus = end_bonus

    def __call__(self, ids: list[int]) -> Tensor:
        seed = hash((self.seed, tuple(ids))) & 0xFFFFFFFF
        logits = torch.randn(VOCAB, generator=torch.Generator().manual_seed(seed)) * 2
        logits[END] += self.end_bonus
        return logits


class LanguageDecoder:
    """Speaks one language per image; remembers what it was given, as a cached decoder does."""

    def __init__(self, languages: list[NextLogits]) -> None:
        self.languages = languages
        self.given: list[list[int]] = [[] for _ in languages]

    def advance(self, ids: Tensor) -> Tensor:
        self.given = [before + new for before, new in zip(self.given, ids.tolist(), strict=True)]
        per_image = len(self.given) // len(self.languages)
        return torch.stack([self.languages[row // per_image](ids) for row, ids in enumerate(self.given)])

    def select(self, rows: Tensor, images: Tensor | None = None) -> None:
        self.given = [list(self.given[row]) for row in rows.tolist()]
        if images is not None:
            self.languages = [self.languages[image] for image in images.tolist()]


def _restrict(scores: Tensor, ids: list[int], decoding: Decoding) -> Tensor:
    scores = scores.clone()
    for token in set(ids):
        factor = decoding.repetition_penalty
        scores[token] = scores[token] * factor if scores[token] < 0 else scores[token] / factor
    if len(ids) < decoding.min_length:
        scores[END] = -torch.inf
    return scores


def _plain_greedy(language: NextLogits, prompt: list[int], decoding: Decoding) -> list[int]:
    ids = list(prompt)
    while len(ids) < decoding.max_length:
        token = int(_restrict(language(ids), ids, decoding).argmax())
        if token == END:
            break
        ids.append(token)
    return ids


def _plain_beam_search(language: NextLogits, prompt: list[int], decoding: Decoding) -> list[int]:
    """Beam search with lists, one image at a time."""
    running = [(0.0, list(prompt))]
    ended: list[tuple[float, list[int]]] = []
    while len(running[0][1]) < decoding.max_length:
        candidates = []
        for score, ids in running:
            steps = _restrict(torch.log_softmax(language(ids), 0), ids, decoding)
            candidates += [(score + steps[token].item(), ids, token) for token in range(VOCAB)]
        candidates.sort(key=lambda candidate: -candidate[0])
        length = len(running[0][1])
        for score, ids, token in candidates[: decoding.beams]:
            if token == END and score > -torch.inf:
                ended.append((score / length, ids))
        ended = sorted(ended, key=lambda caption: -caption[0])[: decoding.beams]
        if len(ended) == decoding.beams and ended[-1][0] >= candidates[0][0] / length:
            return ended[0][1]
        going_on = [candidate for candidate in candidates if candidate[2] != END]
        running = [(score, [*ids, token]) for score, ids, token in going_on[: decoding.beams]]
    ended += [(score / decoding.max_length, ids) for score, ids in running]
    return max(ended, key=lambda caption: caption[0])[1]


decodings = st.builds(
    Decoding,
    beams=st.integers(2, 4),
    min_length=st.integers(0, 4),
    max_length=st.integers(4, 9),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.8]),
)
languages = st.lists(
    st.builds(Language, st.integers(0, 10**6), st.sampled_from([-2.0, 0.0, 3.0])), min_size=1, max_size=4
)
prompts = st.sampled_from([[START], [START, 5], [START, 6, 4]])


@settings(deadline=None, max_examples=60)
@given(languages, prompts, decodings)
def test_beam_search_equals_a_plain_one(
    speakers: list[Language], prompt: list[int], decoding: Decoding
) -> None:
    rows = torch.tensor([prompt] * len(speakers))
    found = beam_search(LanguageDecoder(list(speakers)), rows, decoding, END)
    assert found == [_plain_beam_search(language, prompt, decoding) for language in speakers]


@settings(deadline=None, max_examples=60)
@given(languages, prompts, decodings)
def test_greedy_equals_a_plain_one(speakers: list[Language], prompt: list[int], decoding: Decoding) -> None:
    rows = torch.tensor([prompt] * len(speakers))
    found = sample(LanguageDecoder(list(speakers)), rows, dataclasses.replace(decoding, beams=1), END, None)
    assert found == [_plain_greedy(language, prompt, decoding) for language in speakers]


class Attendance(LanguageDecoder):
    """Notes how many images there were at each step."""

    def __init__(self, languages: list[NextLogits]) -> None:
        super().__init__(languages)
        self.images: list[int] = []

    def advance(self, ids: Tensor) -> Tensor:
        self.images.append(len(self.languages))
        return super().advance(ids)


@pytest.mark.parametrize("beams", [1, 3])
def test_images_that_are_done_leave(beams: int) -> None:
    """Four images of six are done at once, another soon; the sixth goes on to the end."""
    talkative = Language(1, end_bonus=-50.0)
    speakers = [Language(seed, end_bonus=30.0) for seed in range(4)] + [talkative, talkative]
    decoding = Decoding(beams=beams, min_length=0, max_length=12)
    rows = torch.tensor([[START]] * len(speakers))
    decoder = Attendance(list(speakers))
    write = beam_search if beams > 1 else functools.partial(sample, generator=None)
    found = write(decoder, rows, decoding, END)
    plain = _plain_beam_search if beams > 1 else _plain_greedy
    assert found == [plain(language, [START], decoding) for language in speakers]
    assert decoder.images[0] == 6
    assert decoder.images[-1] == 2


def test_nobody_leaves_just_before_the_end() -> None:
    speakers = [Language(0, end_bonus=30.0), Language(1, end_bonus=-50.0)]
    decoder = Attendance(list(speakers))
    sample(decoder, torch.tensor([[START]] * 2), Decoding(min_length=0, max_length=4), END, None)
    assert decoder.images == [2, 2, 2]


@settings(deadline=None, max_examples=40)
@given(languages, st.integers(0, 1000), st.sampled_from([0.3, 0.9, 1.0]))
def test_nucleus_draws_from_the_nucleus_alone(speakers: list[Language], seed: int, top_p: float) -> None:
    decoding = Decoding(method="nucleus", top_p=top_p, min_length=3, max_length=8)
    rows = torch.tensor([[START]] * len(speakers))
    generator = torch.Generator().manual_seed(seed)
    for language, ids in zip(
        speakers, sample(LanguageDecoder(list(speakers)), rows, decoding, END, generator), strict=True
    ):
        assert 3 <= len(ids) <= 8
        for place in range(1, len(ids)):
            masses, order = torch.softmax(_restrict(language(ids[:place]), ids[:place], decoding), 0).sort(
                descending=True
            )
            rank = order.tolist().index(ids[place])
            assert masses[:rank].sum().item() < top_p + 1e-6


def test_nucleus_draws_in_proportion() -> None:
    logits = torch.full((VOCAB,), -torch.inf)
    logits[[4, 5, 6]] = torch.tensor([0.6, 0.3, 0.1]).log()
    decoding = Decoding(method="nucleus", top_p=0.85, min_length=0, max_length=2)
    rows = torch.full((20000, 1), START)
    decoder = LanguageDecoder([lambda _: logits] * len(rows))
    drawn = torch.tensor(sample(decoder, rows, decoding, END, torch.Generator().manual_seed(0)))[:, 1]
    shares = torch.bincount(drawn, minlength=VOCAB) / len(rows)
    torch.testing.assert_close(shares[[4, 5, 6]], torch.tensor([2 / 3, 1 / 3, 0.0]), atol=0.01, rtol=0)


def test_top_k_comes_before_top_p() -> None:
    """Of 0.4, 0.3, 0.2 and 0.1, two are left; within them 0.4 / 0.7 is less than 0.6, so both are drawn."""
    logits = torch.full((VOCAB,), -torch.inf)
    logits[[4, 5, 6, 7]] = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    decoding = Decoding(method="nucleus", top_k=2, top_p=0.6)
    masses, tokens = nucleus(logits[None], decoding)
    assert tokens.tolist() == [[4, 5]]
    torch.testing.assert_close(masses, torch.tensor([[4 / 7, 3 / 7]]))
    masses, _ = nucleus(logits[None], dataclasses.replace(decoding, top_p=0.5))
    assert masses.tolist() == [[1.0, 0.0]]
    masses, tokens = nucleus(logits[None], dataclasses.replace(decoding, top_k=100, top_p=1.0))
    assert masses.shape == (1, VOCAB)
    torch.testing.assert_close(masses[0, :4], torch.tensor([0.4, 0.3, 0.2, 0.1]))


def test_temperature_sharpens_and_flattens() -> None:
    logits = torch.full((VOCAB,), -torch.inf)
    logits[[4, 5]] = torch.tensor([0.8, 0.2]).log()
    rows = torch.full((20000, 1), START)
    decoding = Decoding(method="nucleus", top_p=1.0, min_length=0, max_length=2, temperature=2.0)
    decoder = LanguageDecoder([lambda _: logits] * len(rows))
    drawn = torch.tensor(sample(decoder, rows, decoding, END, torch.Generator().manual_seed(0)))[:, 1]
    assert (drawn == 4).float().mean().item() == pytest.approx(2 / 3, abs=0.01)  # √0.8 : √0.2


def test_a_row_draws_the_same_whatever_the_others_write() -> None:
    decoding = Decoding(method="nucleus", min_length=0, max_length=9)
    first, other, another = Language(1, -9.0), Language(2, end_bonus=30.0), Language(3)
    rows = torch.full((2, 1), START)
    found = [
        sample(LanguageDecoder([first, second]), rows, decoding, END, torch.Generator().manual_seed(5))
        for second in (other, another)
    ]
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]


@pytest.fixture(scope="module")
def learner() -> Learner:
    return tiny_learner("none", seed=4).eval()


@pytest.mark.parametrize("beams", [1, 3])
def test_cached_captions_equal_uncached_ones(learner: Learner, beams: int) -> None:
    """The head's own decoder against running the whole decoder again for every token and image."""
    head, model = learner.heads["lm"], learner.model
    decoding = Decoding(beams=beams, prompt="a picture of", min_length=6, max_length=12)
    images = model.encode_images(batch().images)
    prompt, _ = model.tokenizer([decoding.prompt], end=False)
    start = first_token_replaced(prompt, model.tokenizer.decode_id)[0].tolist()

    def speaker(row: int) -> NextLogits:
        image = [layer.select(torch.tensor([row])) for layer in images.keys_values("decoder")]
        return lambda ids: head.logits(
            model, model.text_transformer.decode(torch.tensor([ids]), image)[0, -1]
        ).detach()

    rows = torch.tensor([start] * len(images))
    uncached = LanguageDecoder([speaker(row) for row in range(len(images))])
    end_id = model.tokenizer.end_id
    expected = (
        sample(uncached, rows, decoding, end_id, None)
        if beams == 1
        else beam_search(uncached, rows, decoding, end_id)
    )
    assert head.generate_ids(images, decoding) == expected
    assert all(caption[: len(start)] == start and len(caption) >= 6 for caption in expected)


def test_equal_generators_write_equal_captions(learner: Learner) -> None:
    decoding = Decoding(method="nucleus", max_length=12)
    images = learner.model.encode_images(batch().images)
    captions = [
        learner.heads["lm"].generate(images, decoding, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert captions[0] == captions[1] != captions[2]


def test_captions_leave_the_prompt_out(learner: Learner) -> None:
    images = learner.model.encode_images(batch().images)
    decoding = Decoding(prompt="A picture of ", max_length=10)
    ids = learner.heads["lm"].generate_ids(images, decoding)
    captions = learner.heads["lm"].generate(images, decoding)
    whole = [learner.model.tokenizer.decode(row) for row in ids]
    assert [f"a picture of {caption}".strip() for caption in captions] == whole


def test_selected_images_get_their_own_captions(learner: Learner) -> None:
    images = learner.model.encode_images(batch().images)
    captions = learner.heads["lm"].generate(images, Decoding())
    index = torch.tensor([2, 0])
    assert learner.heads["lm"].generate(images.select(index), Decoding()) == [captions[2], captions[0]]


def test_a_prompt_that_fills_the_length_is_refused(learner: Learner) -> None:
    images = learner.model.encode_images(batch().images)
    with pytest.raises(
        RecipeError, match=r"max_length 4 leaves no room .* 'a picture of', which are 4 tokens"
    ):
        learner.heads["lm"].generate(images, Decoding(prompt="a picture of", min_length=0, max_length=4))


def test_more_tokens_than_positions_are_refused(learner: Learner) -> None:
    images = learner.model.encode_images(batch().images)
    with pytest.raises(RecipeError, match="max_length 41 is more than the text encoder's 40 positions"):
        learner.heads["lm"].generate(images, Decoding(max_length=41))
