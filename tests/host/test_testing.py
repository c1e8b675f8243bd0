"""The checks for plugin authors find what they are for, and say what broke."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from mmtk import testing
from mmtk.api import (
    DataError,
    HeadOutput,
    Negatives,
    Output,
    RawSample,
    RecipeError,
)
from mmtk.testing import BrokenPromiseError, tiny_blueprint, tiny_sample


def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    function.__name__ = name
    return function


class Encoder(nn.Module):
    """An image encoder that is right, unless it is told to be wrong."""

    width = 8

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.layer = nn.Conv2d(3, 8, 16, 16)
        self.unused = nn.Linear(2, 2) if fault == "unused" else None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.layer(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
        if self.fault == "batch":
            tokens = tokens - tokens.mean(0, keepdim=True)
        if self.fault == "random":
            tokens = tokens + torch.rand(())
        return tokens[..., :7] if self.fault == "width" else tokens

    def grid(self, _images: torch.Tensor) -> tuple[int, int]:
        return (2, 3) if self.fault == "grid" else (2, 2)


def test_what_cant_be_built_says_that_it_stands_in_a_test() -> None:
    with pytest.raises(RecipeError, match=r"^tiny_blueprint\('loss', 'cross_entropy'\)  margin: unknown key"):
        tiny_blueprint("loss", "cross_entropy", margin=3)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("width", r"Encoder: the tokens has the shape \(3, 5, 7\), not \(3, any, 8\)"),
        ("batch", "an image's tokens depend on its batch"),
        ("random", "the same images give other tokens"),
        ("grid", "is 2 by 3, and there are 4 tokens"),
        ("unused", "no gradient of the tokens reaches 'unused.weight'"),
    ],
)
def test_image_encoders(fault: str, message: str) -> None:
    testing.check_image_encoder(Encoder())
    with pytest.raises(BrokenPromiseError, match=message):
        testing.check_image_encoder(Encoder(fault))


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits.float(), targets)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda x, y: nn.functional.cross_entropy(x.float(), y, reduction="none"), r"shape \(5,\), not \(\)"),
        (lambda x, y: nn.functional.cross_entropy(x, y), "of bfloat16 is torch.bfloat16, not torch.float32"),
        (lambda x, y: cross_entropy(x, y) + torch.rand(()), "give another loss"),
        (lambda x, y: cross_entropy(x, y) + (x.data.zero_().sum()), "changes the logits|is zero"),
        (lambda x, y: cross_entropy(x, y) * float("nan"), "not finite"),
    ],
)
def test_losses(loss: Any, message: str) -> None:
    testing.check_loss(cross_entropy)
    with pytest.raises(BrokenPromiseError, match=message):
        testing.check_loss(loss)


# ruff: noqa: ARG005 - what a fault ignores
@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (lambda t, i, m, g: Negatives(t.argmax(1), i.argmax(1)), r"pairs that match: row \d drew column"),
        (lambda t, i, m, g: Negatives(t.argmax(1).float(), i.argmax(1)), "is torch.float32, not torch.int64"),
        (lambda t, i, m, g: (t.argmax(1), i.argmax(1)), "no Negatives"),
        (
            lambda t, i, m, g: Negatives(*2 * [torch.multinomial((~m).float(), 1)[:, 0]]),
            "other draws|multinomial",
        ),
        (lambda t, i, m, g: Negatives(*2 * [t.masked_fill_(m, -1e9).argmax(1)]), "changes the logits"),
    ],
)
def test_negatives(sampler: Any, message: str) -> None:
    with pytest.raises((BrokenPromiseError, RuntimeError), match=message):
        testing.check_negatives(named("sampler", sampler))


class Head(nn.Module):
    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.scale = nn.Parameter(torch.ones(()))
        self.spare = nn.Parameter(torch.ones(()))

    def forward(self, context: Any) -> Any:
        if self.fault in IN_PLACE:
            IN_PLACE[self.fault](context)
        similarity = (context.image.features * context.text.features).sum(1)
        spare = 0 if self.fault == "spare" else self.spare
        loss = (1 - similarity).mean() * self.scale + spare
        if self.fault == "random":
            loss = loss + torch.rand(())
        if self.fault == "one":
            loss = loss + context.image.features.std(0).mean()
        if self.fault == "shape":
            loss = loss[None]
        metrics = {"kept": loss if self.fault == "attached" else loss.detach()}
        return (loss, metrics) if self.fault == "tuple" else HeadOutput(loss, metrics)


IN_PLACE: dict[str, Callable[[Any], Any]] = {
    "image.features": lambda context: context.image.features.mul_(2),
    "image.embeds": lambda context: context.image.embeds.data.zero_(),
    "text.features": lambda context: context.text.features.add_(1),
    "text.ids": lambda context: context.text.ids.fill_(1),
    "text.mask": lambda context: context.text.mask.logical_not_(),
    "similarities.matching": lambda context: context.similarities.matching.fill_(False),
    "batch.images": lambda context: context.batch.images.neg_(),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_heads_leave_what_they_share_as_it_is(name: str, tmp_path: Path) -> None:
    with pytest.raises(BrokenPromiseError, match=rf"^Head: changes context\.{name}, which other heads read"):
        testing.check_head(Head(name), testing.tiny_model(tmp_path))


def test_heads(tmp_path: Path) -> None:
    model = testing.tiny_model(tmp_path)
    testing.check_head(Head(), model)
    for fault, message in (
        ("spare", "no gradient reaches its parameter 'spare'"),
        ("random", "depends on the global generator"),
        ("one", "the loss has values that are not finite"),
        ("shape", r"shape \(1,\), not \(\)"),
        ("attached", "the figure 'kept' isn't detached"),
        ("tuple", "returns tuple and no HeadOutput"),
    ):
        with pytest.raises(BrokenPromiseError, match=message):
            testing.check_head(Head(fault), model)


def test_momentum(tmp_path: Path) -> None:
    model = testing.tiny_model(tmp_path)
    good = tiny_blueprint("momentum", "ema", queue_size=4).build(model=model)
    frozen = copy.deepcopy(good)
    frozen._online = good._online
    frozen.before_step = lambda _state: None
    with pytest.raises(BrokenPromiseError, match="doesn't move the twin"):
        testing.check_momentum(frozen, model)
    trained = tiny_blueprint("momentum", "ema", queue_size=4).build(model=model)
    trained.twin.requires_grad_()
    with pytest.raises(BrokenPromiseError, match="parameters with a gradient"):
        testing.check_momentum(trained, model)


class Words:
    """A tokenizer of single letters."""

    vocab_size, pad_id, start_id, encode_id, decode_id, end_id, mask_id = 40, 0, 1, 2, 3, 4, None

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def __call__(self, texts: Any, *, end: bool = True) -> Any:
        rows = [
            [1, *(ord(one) - 85 for one in text.replace(" ", "")), *([4] if end else [])] for text in texts
        ]
        length = max(map(len, rows)) + (self.fault == "long")
        left = self.fault == "left"
        padded = [
            [0] * (length - len(row)) + row if left else row + [0] * (length - len(row)) for row in rows
        ]
        ids = torch.tensor(padded)
        return ids.int() if self.fault == "type" else ids, ids != 0

    def decode(self, ids: Any) -> str:
        return "" if self.fault == "decode" else "".join(chr(one + 85) for one in ids if one > 4)

    def save(self, folder: Path) -> None:
        if self.fault != "save":
            (folder / "letters").write_text("a-z")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("left", "padding isn't on the right"),
        ("long", "where the longest text has"),
        ("type", "ids is torch.int32"),
        ("decode", "comes back from decode as ''"),
        ("save", "save wrote nothing"),
    ],
)
def test_tokenizers(fault: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    testing.check_tokenizer(Words(), tmp_path / "good")
    with pytest.raises(BrokenPromiseError, match=message):
        testing.check_tokenizer(Words(fault), tmp_path / "bad")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "holds no sample"),
        ([tiny_sample(1), tiny_sample(1)], "keys that several samples have: 'sample1'"),
        ([RawSample("k", b"GIF", ("a",), "i")], "the image of sample 0 can't be decoded: unreadable"),
        ([RawSample("k", tiny_sample(0).image, (), "i")], "no tuple of texts"),
    ],
)
def test_readers(samples: list[RawSample], message: str) -> None:
    testing.check_reader(testing.tiny_reader())
    with pytest.raises(BrokenPromiseError, match=message):
        testing.check_reader(testing.ListReader(samples))


def pixels(picture: Any, generator: torch.Generator, size: Any = (8, 8)) -> torch.Tensor:
    small = torch.frombuffer(bytearray(picture.resize(size).tobytes()), dtype=torch.uint8)
    return small.float().view(3, size[1], size[0]) + torch.rand((), generator=generator)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda p, g: pixels(p, g) + torch.rand(()), "equal generators give other results"),
        (lambda p, g: pixels(p, g, p.size), "tensors of several shapes"),
        (lambda p, g: pixels(p, g).double(), "is torch.float64"),
        (lambda p, g: (p.putpixel((0, 0), (1, 2, 3)), pixels(p, g))[1], "changes the picture"),
    ],
)
def test_image_transforms(transform: Any, message: str) -> None:
    testing.check_image_transform(pixels)
    with pytest.raises(BrokenPromiseError, match=message):
        testing.check_image_transform(transform)


def refusing(text: str) -> str:
    if not text.strip():
        raise DataError("empty")
    return text


def test_text_transforms() -> None:
    testing.check_text_transform(refusing)
    with pytest.raises(BrokenPromiseError, match="'' becomes ''"):
        testing.check_text_transform(lambda text: text)
    with pytest.raises(BrokenPromiseError, match="raises IndexError and no DataError for ''"):
        testing.check_text_transform(lambda text: text[0])


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda step, _per_epoch, _total: 1.0 + step, "gives 2.0 at step 1"),
        (
            lambda step, _per_epoch, total: step / (total - 1) if total > 1 else 0.0,
            "is 0 throughout 1 step, so that",
        ),
    ],
)
def test_schedules(schedule: Any, message: str) -> None:
    with pytest.raises(BrokenPromiseError, match=message):
        testing.check_schedule(schedule)


def test_optimizers() -> None:
    def everything(named_parameters: Any) -> Any:
        return torch.optim.SGD([parameter for _, parameter in named_parameters], lr=0.1)

    with pytest.raises(BrokenPromiseError, match=r"everything: holds '0.bias', which isn't trained"):
        testing.check_optimizer(everything)


class Step:
    gives = ("size",)

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.seen = 0

    def __call__(self, images: Any) -> Any:
        self.seen += len(images)
        extra = {"batch": len(images), "state": self.seen}.get(self.fault, 0)
        name = "length" if self.fault == "name" else "size"
        done = [one.scored(**{name: [len(text.text) + extra for text in one.open]}) for one in images]
        if self.fault == "drops":
            done = [shortened(one) for one in done]
        if self.fault in VALUES:
            done = [one.scored(size=[VALUES[self.fault]] * len(one.open)) for one in images]
        if self.fault == "human":
            done = [one.adding(["a cat"], source="human") for one in done]
        if self.fault == "none":
            return None
        if self.fault == "generator":
            return (one for one in done)
        return done[::-1] if self.fault == "order" else done


VALUES = {"nan": float("nan"), "huge": 1e300, "text": "long"}


def shortened(image: Any) -> Any:
    return replace(image, candidates=image.candidates[1:])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("batch", "worked on one by one comes out otherwise: 'a red cat' has size"),
        ("state", "comes out otherwise"),
        ("name", "changes the score 'length' of a text of 'sample0', which isn't among"),
        ("drops", "step Step must leave the texts of 'sample0' as they are and where they are"),
        ("order", "step Step must return the images that it is given, in their order$"),
        ("none", "step Step must return the images that it is given, in their order, and returns None"),
        ("nan", "step Step gives a score 'size' that is not finite for a text of 'sample0'"),
        ("huge", "step Step gives a score 'size' that is not finite for a text of 'sample0'"),
        ("text", "step Step gives 'long' as the score 'size' of a text of 'sample0'; expected a number"),
        ("human", "adds a text to 'sample0' with the source 'human'; a step's texts are 'web' or 'synth"),
    ],
)
def test_capfilt_steps(fault: str, message: str) -> None:
    testing.check_capfilt_step(Step())
    testing.check_capfilt_step(Step("generator"))
    with pytest.raises(BrokenPromiseError, match=message):
        testing.check_capfilt_step(Step(fault))


@pytest.mark.parametrize(
    ("html", "message"),
    [
        ("<p>open", "leaves <p> open"),
        ("<p></div>", "</div> closes what isn't open"),
        ("<script>1</script>", "has a <script>"),
        ("<b onclick='x()'>b</b>", "handler onclick="),
        ("<img src='http://a.b/c.png'>", "asks for src="),
    ],
)
def test_report_sections(html: str, message: str) -> None:
    testing.check_report_section(SimpleNamespace(title="A", html=lambda: "<p>a<br>b <img src='data:x'></p>"))
    with pytest.raises(BrokenPromiseError, match=message):
        testing.check_report_section(SimpleNamespace(title="A", html=lambda: html))


def test_executors(tmp_path: Path) -> None:
    def all_but_one(work: Any, parts: Any) -> Any:
        do = work.open()
        return [(part, do(part)) for part in parts[1:]]

    with pytest.raises(BrokenPromiseError, match=r"all_but_one: yields the parts \[3, 4, 9\]"):
        testing.check_executor(all_but_one, tmp_path)


def test_loggers(tmp_path: Path) -> None:
    class Clearing:
        def log(self, _step: int, figures: dict[str, float]) -> None:
            figures.clear()

        def close(self) -> None: ...

    with pytest.raises(BrokenPromiseError, match="changes the figures"):
        testing.check_logger(lambda _folder: Clearing(), tmp_path)


def test_metrics(tmp_path: Path) -> None:
    learner = testing.tiny_learner(tmp_path)

    def training(learner: Any, _data: Any, _context: Any) -> dict[str, float]:
        learner.train()
        return {"a": 1.0}

    def nothing_counted(_learner: Any, _data: Any, _context: Any) -> dict[str, float]:
        return {"a": float("nan")}

    with pytest.raises(BrokenPromiseError, match="leaves the learner in training mode"):
        testing.check_metric(training, learner, folder=tmp_path / "stage")
    with pytest.raises(BrokenPromiseError, match="nothing_counted: the figure 'a' is nan"):
        testing.check_metric(nothing_counted, learner, folder=tmp_path / "stage")


def test_stages(tmp_path: Path) -> None:
    class Once:
        def run(self, context: Any) -> None:
            (context.folder / "out").write_text("1")
            (context.folder.parent / "beside").write_text("1")

    context = testing.tiny_stage_context(tmp_path / "stage")
    with pytest.raises(BrokenPromiseError, match=r"Once: its output 'count' isn't at count\.json"):
        testing.check_stage(Once(), context, {"count": Output("count", "count.json")})
    (tmp_path / "beside").unlink()
    with pytest.raises(BrokenPromiseError, match="writes beside its folder: beside"):
        testing.check_stage(Once(), context, {"out": Output("count", "out")})
