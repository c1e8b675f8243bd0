"""The steps of a pass by name, and what is checked of each one's work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mmtk.api import (
    AddingStep,
    Blueprint,
    Candidate,
    CapfiltStep,
    CheckpointError,
    DataError,
    ImageCandidates,
    Reader,
    StageError,
    TextTransform,
    blamed,
    ledger_scores,
    step_results,
)
from mmtk_capfilt.decisions import StepRules
from mmtk_capfilt.ledger import FIXED_COLUMNS
from mmtk_capfilt.scores import lacking


@dataclass(frozen=True)
class NamedStep:
    """A step with the name it has in ledgers and messages, and its component with its plugin."""

    name: str
    step: CapfiltStep
    described: str = ""

    @property
    def gives(self) -> tuple[str, ...]:
        return tuple(getattr(self.step, "gives", ()))

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(getattr(self.step, "needs", ()))

    @property
    def rules(self) -> StepRules:
        return StepRules(self.name, tuple(getattr(self.step, "rules", ())))

    @property
    def model(self) -> str:
        """``NAME:FINGERPRINT`` of the model it uses; empty without one."""
        fingerprint = getattr(self.step, "fingerprint", "")
        return f"{self.name}:{fingerprint}" if fingerprint else ""


def step_names(uses: Sequence[str]) -> list[str]:
    """Name steps by their components; further ones of one component are numbered."""
    names: list[str] = []
    for use in uses:
        plain = use.rpartition("/")[2]
        numbered = (f"{plain}-{number}" for number in range(2, len(uses) + 2))
        names.append(next(name for name in (plain, *numbered) if name not in names))
    return names


def build_steps(blueprints: Sequence[Blueprint[CapfiltStep]], **injected: object) -> list[NamedStep]:
    """Build the steps.

    Raises StageError when one needs a score that no step before it gives, finds no checkpoint, or when two
    of them are at odds.
    """
    names = step_names([blueprint.node.use for blueprint in blueprints])  # type: ignore[attr-defined]
    steps = [_build(name, blueprint, injected) for name, blueprint in zip(names, blueprints, strict=True)]
    _check_scores(steps)
    _check_datasets(steps)
    return steps


def _build(name: str, blueprint: Blueprint[CapfiltStep], injected: Mapping[str, object]) -> NamedStep:
    try:
        described = getattr(blueprint, "described", "")
        return NamedStep(name, blueprint.build(**injected), described)
    except CheckpointError as error:
        raise StageError(f"step {name}: {error}") from error


def _check_scores(steps: Sequence[NamedStep]) -> None:
    given: list[str] = []
    judged_by: dict[str, str] = {}  # scores that rules go by, and the first step with such a rule
    for number, step in enumerate(steps, 1):
        for score in step.gives:
            if score in FIXED_COLUMNS:
                raise StageError(
                    f"step {number}, {step.name}, can't give a score {score!r}: a column of the ledger has "
                    "that name"
                )
            if score in judged_by:
                raise StageError(
                    f"step {number}, {step.name}, gives the score {score!r} anew, by which "
                    f"{judged_by[score]} drops texts, and the ledger has room for one: "
                    f"put {step.name} before it, or leave one of them out"
                )
        wanted = [*step.needs, *(rule.score for rule in step.rules.rules if rule.score not in step.gives)]
        for score in wanted:
            if score not in given:
                raise StageError(f"step {number}, {step.name}, {lacking(score, given)}")
        given += step.gives
        for rule in step.rules.rules:
            judged_by.setdefault(rule.score, step.name)


def _check_datasets(steps: Sequence[NamedStep]) -> None:
    added: dict[str, str] = {}
    for named in steps:
        if not isinstance(named.step, AddingStep):
            continue
        for what, names in (("dataset", named.step.datasets), ("weight of", named.step.weights)):
            for name in names:
                other = added.setdefault(f"{what} {name!r}", named.name)
                if other != named.name:
                    raise StageError(f"{other} and {named.name} both have a {what} {name!r}; one must do")


def datasets_of(steps: Sequence[NamedStep]) -> Iterator[tuple[str, int, Reader]]:
    """The datasets that steps add: name, the first step that sees them, and reader."""
    for place, named in enumerate(steps):
        if isinstance(named.step, AddingStep):
            for name, reader in named.step.datasets.items():
                yield name, place, reader


def weights_of(steps: Sequence[NamedStep]) -> Mapping[str, float]:
    """How often a kept text is written, by source or dataset; 1 where it is missing."""
    return {
        name: weight
        for named in steps
        if isinstance(named.step, AddingStep)
        for name, weight in named.step.weights.items()
    }


class Bookkeeping:
    """Fills in what steps leave to the pass, and refuses what they must not do.

    Args:
        clean: from a text to what models read.
        longest: greatest number of characters of a text.
    """

    def __init__(self, clean: TextTransform, longest: int) -> None:
        self._clean = clean
        self._longest = longest

    def run(self, named: NamedStep, images: Sequence[ImageCandidates]) -> list[ImageCandidates]:
        """Have a step work on those images that no step has left out.

        Raises StageError when it fails, loses images or texts, or gives scores other than those it has
        declared.
        """
        at_work = [image for image in images if not image.left_out]
        if not at_work:
            return list(images)
        with blamed(named.described or f"step {named.name}", "worked on images"):
            done = step_results(named.step, named.name, at_work)
        settled = iter(self.settle(after, named) for after in done)
        return [image if image.left_out else next(settled) for image in images]

    def settle(self, image: ImageCandidates, named: NamedStep | None = None) -> ImageCandidates:
        """Clean new texts and bar those that are empty, too long or there already; round scores to float32.

        Args:
            named: the step that has made it so; None for an image as it was read.
        """
        name = named.name if named else "read"
        sources: dict[str, str] = {}
        candidates = []
        for one in image.candidates:
            settled = one if one.cleaned or one.barred else self._cleaned(one)
            if not settled.barred and settled.cleaned in sources:
                settled = replace(settled, barred=f"same as the {sources[settled.cleaned]} text")
            if not settled.barred:
                sources.setdefault(settled.cleaned, settled.source)
            if settled.barred and not settled.barred_by:
                settled = replace(settled, barred_by=name)
            if named is not None and not settled.barred:
                wanted = () if image.left_out else named.gives
                settled = replace(settled, scores=ledger_scores(name, image.key, settled, wanted))
            candidates.append(settled)
        if image.left_out:
            candidates = [
                one if one.barred else replace(one, barred=image.left_out, barred_by=name)
                for one in candidates
            ]
        return replace(image, candidates=tuple(candidates))

    def _cleaned(self, one: Candidate) -> Candidate:
        if len(one.text) > self._longest:
            return replace(
                one, barred=f"text too long: {len(one.text)} characters, more than {self._longest}"
            )
        try:
            cleaned = self._clean(one.text)
        except DataError as error:
            return replace(one, barred=str(error))
        return replace(one, cleaned=cleaned) if cleaned else replace(one, barred="empty text")
