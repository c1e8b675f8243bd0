"""The three objectives against plain references."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from mmtk_blip import build
from mmtk_blip.heads.itc import ItcHead, soften
from mmtk_blip.heads.itm import ItmHead
from mmtk_blip.losses import CrossEntropy, SoftContrastive
from mmtk_blip.text_transformer import first_token_replaced
from mmtk_momentum.negatives import Hardest, ItcWeighted, Random
from torch import Tensor

from mmtk.engine.learner import Learner
from mmtk.errors import RecipeError
from mmtk.kinds import CaptioningHead, MatchingHead, NegativeSampler
from mmtk.types import Negatives

from .parts import TEXTS, batch, fixed_negatives, next_in_batch, state, tiny_learner
from .test_context import RandomMomentum


def _reference_itc(context, keys: list, alpha: float) -> float:
    """ALBEF eq. 6 with loops: soft targets per row, both directions; ``keys`` are the columns' ids."""
    similarities, ids = context.similarities, keys[: len(context.batch)]
    total = 0.0
    for logits, teacher in (
        (similarities.image_to_text, similarities.teacher_image_to_text),
        (similarities.text_to_image, similarities.teacher_text_to_image),
    ):
        for row, own in enumerate(ids):
            same = [float(key == own) for key in keys]
            log_likelihood = torch.log_softmax(logits[row], 0).tolist()
            soft = torch.softmax(teacher[row], 0).tolist()
            for column in range(len(keys)):
                target = alpha * soft[column] + (1 - alpha) * same[column] / sum(same)
                total -= target * log_likelihood[column] / len(ids) / 2
    return total


@pytest.mark.parametrize("image_ids", [[0, 1, 2, 3], [5, 5, 2, 100]])
def test_itc_equals_a_plain_reference(image_ids: list[int]) -> None:
    learner = tiny_learner()
    context = learner.model.context(batch(image_ids=image_ids), state(epoch=9), RandomMomentum(3))
    output = learner.heads["itc"](context)
    keys = [*image_ids, 100, 101, 102]
    assert output.loss.item() == pytest.approx(_reference_itc(context, keys, 0.4), rel=1e-5)
    assert output.metrics["alpha"].item() == pytest.approx(0.4)
    assert output.metrics["temperature"].item() == pytest.approx(0.07)
    assert not output.metrics["temperature"].requires_grad


@pytest.mark.parametrize("same_text_matches", [False, True])
def test_itc_shares_its_targets_among_equal_texts_if_asked(same_text_matches: bool) -> None:
    learner = tiny_learner(same_text_matches=same_text_matches)
    texts, queued = ("owl", "a cat", "owl", "a dog"), ["a dog", "a tree", "a dog"]
    context = learner.model.context(batch(texts), state(epoch=9), RandomMomentum(3, queued))
    keys = [*texts, *queued] if same_text_matches else list(range(7))
    loss = learner.heads["itc"](context).loss
    assert loss.item() == pytest.approx(_reference_itc(context, keys, 0.4), rel=1e-5)


def test_itc_without_momentum_is_clips_loss() -> None:
    context = tiny_learner().model.context(batch(), state())
    logits = context.similarities.image_to_text
    own = torch.arange(4)
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own)) / 2
    torch.testing.assert_close(ItcHead(loss=SoftContrastive())(context).loss, expected)


@pytest.mark.parametrize(("epoch", "alpha"), [(0, 0), (0.5, 0.1), (1, 0.2), (2, 0.4), (7, 0.4)])
def test_alpha_ramps_linearly_over_the_epochs(epoch: float, alpha: float) -> None:
    assert ItcHead(loss=SoftContrastive(), alpha=0.4, ramp_epochs=2).alpha_at(epoch) == pytest.approx(alpha)


def test_no_ramp_starts_at_alpha() -> None:
    assert ItcHead(loss=SoftContrastive(), alpha=0.4, ramp_epochs=0).alpha_at(0) == 0.4


def test_soft_targets_sum_to_one() -> None:
    hard, teacher = torch.eye(3, 5), torch.randn(3, 5)
    torch.testing.assert_close(soften(hard, teacher, 0.3).sum(1), torch.ones(3))
    assert soften(hard, None, 0.3) is hard


def test_itm_classifies_pairs_then_both_kinds_of_negatives() -> None:
    learner = tiny_learner().eval()
    image_for_text, text_for_image = torch.tensor([1, 2, 3, 0]), torch.tensor([3, 2, 0, 1])
    seen: dict[str, Tensor] = {}

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        seen.update(logits=logits, targets=targets)
        return CrossEntropy()(logits, targets)

    head = ItmHead(text_width=16, loss=loss, negatives=fixed_negatives(image_for_text, text_for_image))
    context = learner.model.context(batch(), state())
    output = head(context)
    pairs = [(row, row) for row in range(4)]
    pairs += [(int(image_for_text[text]), text) for text in range(4)]
    pairs += [(image, int(text_for_image[image])) for image in range(4)]
    expected = torch.cat([_match_alone(learner, head, image, text) for image, text in pairs])
    torch.testing.assert_close(seen["logits"], expected, rtol=1e-4, atol=1e-5)
    assert seen["targets"].tolist() == [1] * 4 + [0] * 8
    accuracy = (expected.argmax(1) == seen["targets"]).float().mean()
    assert output.metrics["accuracy"].item() == pytest.approx(accuracy.item())


def _match_alone(learner: Learner, head: ItmHead, image: int, text: int) -> Tensor:
    """One pair without padding or batching, [ENC] first."""
    model = learner.model
    ids, mask = model.tokenizer([TEXTS[text]])
    ids = first_token_replaced(ids, model.tokenizer.encode_id)
    embeds = model.image_encoder(batch().images[image : image + 1])
    transformer = model.text_transformer
    states = transformer.ground(ids, mask, transformer.image_keys_values(embeds, "encoder"))
    return head.classifier(states[:, 0])


def test_negatives_depend_on_seed_and_step_alone() -> None:
    learner = tiny_learner()
    drawn = []

    def draw(text_to_image: Tensor, image_to_text: Tensor, matching: Tensor, generator: torch.Generator):
        drawn.append(torch.randint(1000, (5,), generator=generator).tolist())
        return next_in_batch(4)(text_to_image, image_to_text, matching, generator)

    learner.heads["itm"].negatives = draw
    for _ in range(2):
        torch.rand(3)
        learner.heads["itm"](learner.model.context(batch(), state()))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("sampler", [ItcWeighted(), Hardest(), Random()])
@pytest.mark.parametrize("same_text_matches", [False, True])
def test_itm_draws_no_equal_text_if_asked(sampler: NegativeSampler, same_text_matches: bool) -> None:
    """Equal texts are as similar as the true ones, so without the option they are drawn."""
    learner = tiny_learner(same_text_matches=same_text_matches).eval()
    texts = ("owl", "owl", "a cat", "owl", "a big blue dog", "owl")
    drawn: list[Negatives] = []

    def draw(*arguments) -> Negatives:
        drawn.append(sampler(*arguments))
        return drawn[-1]

    learner.heads["itm"].negatives = draw
    for step in range(20):
        pairs, now = batch(texts), dataclasses.replace(state(), step=step)
        learner.heads["itm"](learner.model.context(pairs, now, RandomMomentum(3, ["owl"] * 3)))
    equal = [
        texts[row] == texts[column]
        for negatives in drawn
        for direction in negatives
        for row, column in enumerate(direction.tolist())
    ]
    assert len(equal) == 20 * 2 * len(texts)
    assert any(equal) is not same_text_matches


def test_chance_loss_is_what_a_constant_answer_gets() -> None:
    head = tiny_learner().heads["itm"]
    constant = torch.tensor([2 / 3, 1 / 3]).log().expand(12, 2)
    classes = torch.tensor([1] * 4 + [0] * 8)
    assert head.chance_loss == pytest.approx(CrossEntropy()(constant, classes).item(), rel=1e-6)
    assert head.chance_loss == pytest.approx(0.6365, abs=1e-4)


def test_lm_equals_the_loss_over_all_logits() -> None:
    learner = tiny_learner().eval()
    model, head = learner.model, learner.heads["lm"]
    context = model.context(batch(), state())
    ids = first_token_replaced(context.text.ids, model.tokenizer.decode_id)
    states = model.text_transformer.decode(ids, context.image.keys_values("decoder"))
    logits = head.logits(model, states)[:, :-1]
    targets = ids.masked_fill(~context.text.mask, -100)[:, 1:]
    expected = F.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=-100, label_smoothing=0.1
    )
    output = head(context)
    torch.testing.assert_close(output.loss, expected)
    correct = (logits.argmax(-1) == targets)[targets >= 0].float().mean()
    assert output.metrics["accuracy"].item() == pytest.approx(correct.item())


def test_lm_leaves_the_prompts_tokens_out_of_texts_that_start_with_it() -> None:
    prompt = tiny_learner().model.tokenizer(["a big"], end=False)[0][0, 1:].tolist()
    learner = tiny_learner(prompt_ids=prompt)
    ids, mask = learner.model.tokenizer(["a big red cat", "a red cat", "a big", "owl"])
    counted = learner.heads["lm"].predicted(ids, mask)
    assert counted.int().tolist() == [
        [0, 0, 1, 1, 1],
        [1, 1, 1, 1, 0],
        [0, 0, 1, 0, 0],
        [1, 1, 0, 0, 0],
    ]


def test_lm_with_a_prompt_longer_than_the_texts_counts_every_token() -> None:
    learner = tiny_learner(prompt_ids=range(4, 16))
    ids, mask = learner.model.tokenizer(["a red cat"])
    assert learner.heads["lm"].predicted(ids, mask).all()


@pytest.mark.parametrize("name", ["itc", "itm", "lm"])
def test_weight_scales_the_loss(name: str) -> None:
    learner = tiny_learner().eval()
    head = learner.heads[name]
    once = head(learner.model.context(batch(), state())).loss
    head.weight = 2.5
    torch.testing.assert_close(head(learner.model.context(batch(), state())).loss, 2.5 * once)


@pytest.mark.parametrize("sharing", ["all", "all_but_sa", "all_but_ca", "none"])
def test_gradients_reach_every_parameter(sharing: str) -> None:
    learner = tiny_learner(sharing)
    context = learner.model.context(batch(), state())
    torch.stack([head(context).loss for head in learner.heads.values()]).sum().backward()
    # A key's bias adds the same to all scores of a query, so its gradient is rounding noise.
    still = [
        name
        for name, parameter in learner.named_parameters()
        if not name.endswith("key.bias")
        and (parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any())
    ]
    assert still == []


def test_evaluation_leaves_the_state_dict_unchanged() -> None:
    learner = tiny_learner(dropout=0.1).eval()
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    context = learner.model.context(batch(), state(), RandomMomentum(2))
    losses = [[head(context).loss.item() for head in learner.heads.values()] for _ in range(2)]
    assert losses[0] == losses[1]
    after = learner.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_heads_are_found_by_what_they_can_do() -> None:
    learner = tiny_learner()
    assert learner.head_with(MatchingHead) is learner.heads["itm"]
    assert learner.head_with(CaptioningHead) is learner.heads["lm"]
    assert not isinstance(learner.heads["itc"], MatchingHead | CaptioningHead)


def test_itm_reaches_its_prior_without_information() -> None:
    """The bias-only answer is the best one when the classifier sees nothing."""
    head = tiny_learner().heads["itm"]
    bias = math.log(2)
    logits = torch.tensor([[bias, 0.0]]).expand(12, 2)
    classes = torch.tensor([1] * 4 + [0] * 8)
    better = [CrossEntropy()(logits + torch.tensor([delta, 0.0]), classes).item() for delta in (-0.1, 0.1)]
    assert all(loss > head.chance_loss for loss in better)


@pytest.mark.parametrize(
    ("head", "keys", "message"),
    [
        (
            build.itm,
            {"loss": None, "negatives": None, "negatives_from": "rank"},
            "reads texts with their images",
        ),
        (build.lm, {"loss": None, "prompt": ""}, "a decoder"),
    ],
)
def test_a_model_without_the_ability_is_refused(head, keys: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        head(**keys, weight=1.0, model=torch.nn.Identity())


def test_a_popular_negative_changes_no_number() -> None:
    """All texts of a large batch with one image: rows by image would be mostly padding."""
    learner = tiny_learner().eval()
    texts = TEXTS * 6
    whole = batch(texts)
    images, encoded = learner.model.encode_images(whole.images), learner.model.encode_texts(texts)
    index = torch.cat((torch.arange(len(texts)), torch.zeros(len(texts), dtype=torch.long)))
    rows = torch.cat((torch.arange(len(texts)), torch.arange(len(texts))))
    together = learner.heads["itm"].match_logits(images.select(index), encoded.select(rows))
    one_by_one = torch.cat(
        [
            learner.heads["itm"].match_logits(images.select(image[None]), encoded.select(row[None]))
            for image, row in zip(index, rows, strict=True)
        ]
    )
    torch.testing.assert_close(together, one_by_one, rtol=1e-5, atol=1e-5)
