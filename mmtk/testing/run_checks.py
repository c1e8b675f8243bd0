"""What sections of the report, steps of CapFilt, executors and stages promise."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import torch

from mmtk.candidates import (
    AddingStep,
    AtLeast,
    Best,
    Candidate,
    CapfiltStep,
    Executor,
    ImageCandidates,
    SurveyingStep,
)
from mmtk.errors import StageError
from mmtk.kinds import Reader, ReportSection, Stage
from mmtk.report.section import Accompanied, Headlined, Informed, Scripted, Styled
from mmtk.stages.context import Output, StageContext
from mmtk.step_promise import ledger_scores, step_results
from mmtk.testing.promise import BrokenPromiseError, name_of, promise
from mmtk.testing.tiny import tiny_candidates, tiny_reader

CLOSE = 1e-4  # scores of one text in other batches
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
FILE_NAME = re.compile(r"[\w.-]+")


class _Html(HTMLParser):
    """Collects what a section must not have."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "iframe", "base", "object", "embed"}:
            self.faults.append(f"has a <{tag}>, which the page's policy forbids")
        for name, value in attributes:
            if name.startswith("on"):
                self.faults.append(f"has the handler {name}=, which the page's policy forbids")
            if name in {"src", "href"} and value and not value.startswith(("data:", "#")):
                self.faults.append(f'asks for {name}="{value[:60]}"; pictures are inline')
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes what isn't open")


def check_report_section(section: ReportSection) -> None:
    """A title, balanced HTML without scripts or addresses, the same each time, and what else it offers."""
    promise(isinstance(section.title, str) and bool(section.title.strip()), section, "has no title")
    html = section.html()
    promise(isinstance(html, str) and bool(html.strip()), section, "html() is empty")
    promise(section.html() == html, section, "html() is another the second time")
    parser = _Html()
    parser.feed(html)
    parser.close()
    faults = parser.faults + [f"leaves <{tag}> open" for tag in parser.open]
    promise(not faults, section, f"its HTML {faults[0] if faults else ''}")
    if isinstance(section, Headlined):
        promise("\n" not in section.headline(), section, f"headline() is no line: {section.headline()!r}")
    if isinstance(section, Styled):
        promise("</style" not in section.css().lower(), section, "css() ends the page's style sheet")
    if isinstance(section, Scripted):
        harmless = not re.search(r"</script|<!--", section.script(), re.IGNORECASE)
        promise(harmless, section, "script() holds </script or <!--, which ends it")
    if isinstance(section, Informed):
        try:
            json.dumps(section.data(), allow_nan=False)
        except (TypeError, ValueError) as error:
            promise(False, section, f"data() can't be written as JSON: {error}")
    if isinstance(section, Accompanied):
        for name, content in section.files():
            promise(bool(FILE_NAME.fullmatch(name)), section, f"files() names a file {name!r}")
            promise(isinstance(content, bytes), section, f"the content of {name} isn't bytes")


def check_capfilt_step(
    step: CapfiltStep,
    images: Sequence[ImageCandidates] | None = None,
    *,
    readers: Mapping[str, Reader] | None = None,
) -> None:
    """A pure function of images, however they are split into batches, that adds and never takes away.

    What a pass refuses of a step, this refuses in the same words.

    Args:
        step: built.
        images: what it gets; None takes ``tiny_candidates()`` with the scores that it ``needs``.
        readers: what a surveying step looks through, the pass's own under the name ``""``.
    """
    _promise_attributes(step)
    if isinstance(step, SurveyingStep):
        step.learn(step.survey(readers or {"": tiny_reader()}))
    images = list(images or tiny_candidates())
    needed = {name: [0.5] * len(images[0].open) for name in getattr(step, "needs", ())}
    images = [one.scored(**needed) for one in images] if needed else images
    before = [(one, one.candidates) for one in images]
    whole = _worked_on(step, images)
    unchanged = all(one.candidates is texts for one, texts in before)
    promise(unchanged, step, "changes the images that it is given")
    splits = {
        "one by one": [[one] for one in images],
        "in two batches": [images[:2], images[2:]],
        "again": [images],
        "backwards": [images[::-1]],
    }
    for how, batches in splits.items():
        again = [one for batch in batches if batch for one in _worked_on(step, batch)]
        again = again[::-1] if how == "backwards" else again
        for one, other in zip(whole, again, strict=True):
            fault = _difference(one, other)
            promise(not fault, step, f"an image worked on {how} comes out otherwise: {fault}")
    promise(_worked_on(step, []) == [], step, "makes something of no images")


def _worked_on(step: Any, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
    """What a step returns, held to what a pass holds it to, with scores as the ledger has them."""
    name = name_of(step)
    try:
        done = step_results(step, name, images)
        for one in done:
            for text in () if one.left_out else one.open:
                ledger_scores(name, one.key, text, getattr(step, "gives", ()))
    except StageError as error:
        raise BrokenPromiseError(str(error)) from error
    for given, made in zip(images, done, strict=True):
        promise(made.index == given.index, step, f"image {given.key} comes out with the index {made.index}")
    return done


def _promise_attributes(step: Any) -> None:
    for name in ("gives", "needs"):
        given = getattr(step, name, ())
        strings = isinstance(given, tuple) and all(isinstance(one, str) for one in given)
        promise(strings, step, f"its {name} is {given!r}: no tuple of names of scores")
    for rule in getattr(step, "rules", ()):
        promise(isinstance(rule, AtLeast | Best), step, f"its rules hold {rule!r}: no AtLeast or Best")
    print_ = getattr(step, "fingerprint", "")
    promise(isinstance(print_, str), step, f"its fingerprint is {print_!r} and no string")
    if isinstance(step, AddingStep):
        promise(all(value >= 0 for value in step.weights.values()), step, "its weights go below 0")


def _difference(one: ImageCandidates, other: ImageCandidates) -> str:
    """How two results for one image differ; empty if they don't."""
    if (one.key, one.left_out) != (other.key, other.left_out):
        return f"{one.key} left out for {one.left_out!r}, or {other.key} for {other.left_out!r}"
    if len(one.candidates) != len(other.candidates):
        return f"{len(one.candidates)} or {len(other.candidates)} texts of {one.key}"
    for mine, its in zip(one.candidates, other.candidates, strict=True):
        if _without_scores(mine) != _without_scores(its):
            return f"{mine.text!r} ({mine.barred or 'open'}) or {its.text!r} ({its.barred or 'open'})"
        for name, score in mine.scores.items():
            if abs(score - its.scores.get(name, float("inf"))) > CLOSE:
                return f"{mine.text!r} has {name} {score:.6g} or {its.scores.get(name)}"
    return ""


def _without_scores(candidate: Candidate) -> Candidate:
    return replace(candidate, scores={})


@dataclass(frozen=True)
class _Squares:
    """Work whose parts are numbers, and their results the squares."""

    folder: Path
    device: str = "cpu"

    def open(self) -> Callable[[int], Any]:
        return _square


def _square(part: int) -> tuple[int, float]:
    return part * part, float(torch.tensor(part).sqrt())


def check_executor(executor: Executor, folder: Path) -> None:
    """Every part done, each yielded once, with what a process elsewhere found."""
    parts = (0, 3, 4, 9)
    work = _Squares(folder)
    pickle.dumps(work)
    found = list(executor(work, parts))
    numbers = sorted(number for number, _ in found)
    promise(numbers == list(parts), executor, f"yields the parts {numbers}, and was given {list(parts)}")
    for number, result in found:
        promise(result == _square(number), executor, f"yields {result} for part {number}")
    promise(list(executor(work, ())) == [], executor, "yields something where there are no parts")


def check_stage(stage: Stage, context: StageContext, outputs: Mapping[str, Output]) -> None:
    """Every declared output is there, also over what an earlier try left, and nothing beside the folder.

    Args:
        stage: built.
        context: ``tiny_stage_context(folder)``, the folder being empty and alone in its own folder.
        outputs: ``OUTPUTS`` of its config.
    """
    around = set(context.folder.parent.iterdir())
    for again in ("", " when it runs again over what an earlier try left"):
        stage.run(context)
        for name, output in outputs.items():
            there = (context.folder / output.path).exists()
            promise(there, stage, f"its output '{name}' isn't at {output.path}{again}")
    beside = set(context.folder.parent.iterdir()) - around
    promise(not beside, stage, f"writes beside its folder: {', '.join(sorted(path.name for path in beside))}")
