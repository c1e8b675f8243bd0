"""Checks a whole recipe against the installed plugins and says everything that is wrong at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mmtk.config import Input
from mmtk.errors import MmtkError, RecipeError
from mmtk.recipe.load import RecipeDocument
from mmtk.recipe.marks import BROKEN, Marked
from mmtk.recipe.nodes import NodeChecker
from mmtk.recipe.problems import TOO_DEEP, Problem, UnreadableError, recipe_error
from mmtk.recipe.references import Reference, leaves
from mmtk.recipe.schema import Schema, component_schema, dataclass_keys
from mmtk.recipe.settings import RUNS, Settings, default_name, plugin_defaults
from mmtk.recipe.site import Invalid, Site
from mmtk.registry import Registry, nearest, spelling_hint
from mmtk.stages.context import Output
from mmtk.stages.graph import execution_order
from mmtk.types import ComponentNode

NAME = re.compile(r"[A-Za-z0-9][\w-]*")


@dataclass(frozen=True)
class CheckedStage:
    """A stage that can run.

    Attributes:
        name: its name in the recipe.
        node: its component and keys; inputs made by other stages are ``Reference`` objects.
        outputs: what it declares to make, by name.
        inputs: the (stage, output) pairs it reads.
    """

    name: str
    node: ComponentNode
    outputs: Mapping[str, Output]
    inputs: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class CheckedRecipe:
    """A recipe that can run. A ``~`` of its folder has been replaced, as everything makes files there."""

    name: str
    description: str
    seed: int
    device: str
    run_dir: Path
    stages: Mapping[str, CheckedStage]


def check_recipe(document: RecipeDocument, registry: Registry) -> CheckedRecipe:
    """Check every node against its component. Imports configs, and factories only of components without one.

    Raises:
        RecipeError: with everything that is wrong, each with its place, its key and the nearest spelling.
    """
    try:
        return _RecipeCheck(document, registry).run()
    except RecursionError:
        raise UnreadableError(document.root.place, TOO_DEEP) from None


class _RecipeCheck:
    def __init__(self, document: RecipeDocument, registry: Registry) -> None:
        self.document = document
        self.registry = registry
        self.problems: list[Problem] = list(document.problems)
        self.checker = NodeChecker(registry, self.find_output)
        self.outputs: dict[str, Mapping[str, Output] | None] = {}

    def run(self) -> CheckedRecipe:
        settings = self.settings()
        stages = self.stages()
        if self.problems or settings is None:
            raise recipe_error(str(self.document.path), self.problems)
        name = settings.name or default_name(self.document.path)
        run_dir = (settings.run_dir or RUNS / name).expanduser()
        return CheckedRecipe(name, settings.description, settings.seed, settings.device, run_dir, stages)

    def settings(self) -> Settings | None:
        root = self.document.root
        definitions = root.value.get("definitions")
        if definitions and definitions.value is not BROKEN and not isinstance(definitions.value, dict | None):
            Site("definitions", self.problems).fault(definitions.place, "expected a mapping")
        own = {key: value for key, value in root.value.items() if key not in ("definitions", "stages")}
        known = dataclass_keys(Settings)
        spellings = [*known, "extends", "profiles", "definitions", "stages"]
        for key in [key for key in own if key not in known]:
            near = self.key_of_a_stage(key) or nearest(key, spellings)
            hint = f"did you mean '{near}'?" if near else f"there are: {', '.join(spellings)}"
            Site(key, self.problems).fault(own.pop(key).named_at, f"unknown key of a recipe; {hint}")
        own = {**self.defaults(), **own}
        settings = self.checker.record(replace(root, value=own), Settings, Site("", self.problems))
        return None if isinstance(settings, Invalid) else settings

    def defaults(self) -> Mapping[str, Marked]:
        """The keys that plugins give every recipe, if the document wasn't read with them."""
        given = self.document.defaults
        return plugin_defaults(self.registry, self.document.root.place) if given is None else given

    def key_of_a_stage(self, key: str) -> str | None:
        """Return where a key belongs that stands beside the stages and is one of a stage's."""
        stages = self.document.root.value.get("stages")
        for name, stage in stages.value.items() if stages and isinstance(stages.value, dict) else ():
            schema = self.schema_of(stage)
            if schema and key in schema.keys:
                return f"stages.{name}.{key}"
        return None

    def stages(self) -> dict[str, CheckedStage]:
        site = Site("", self.problems).within(dataclass_keys(Settings)).below("stages")
        root = self.document.root
        stages = root.value.get("stages")
        if stages is None:
            site.fault(root.place, "a recipe needs 'stages', and this one has none")
            return {}
        if stages.value is BROKEN:
            return {}
        if not isinstance(stages.value, dict) or not stages.value:
            site.fault(stages.place, "expected a mapping of stages, each {use: NAME, …}")
            return {}
        for name, marked in stages.value.items():
            if not NAME.fullmatch(name):
                site.below(name).fault(
                    marked.named_at,
                    "a stage's name is made of letters, digits, '_' and '-': it names a folder",
                )
            self.outputs[name] = self.declared(marked)
        checked = {}
        for name, marked in stages.value.items():
            if self.misnamed(name, marked, stages, site.below(name)):
                continue
            node = self.checker.component(marked, "stage", site.below(name))
            if isinstance(node, ComponentNode):
                checked[name] = CheckedStage(name, node, self.outputs[name] or {}, _reads(node))
        self.circles(checked, stages)
        return checked

    def misnamed(self, name: str, marked: Marked, stages: Marked, site: Site) -> bool:
        """Report a stage without ``use:`` as the misspelt name of another one, if it may be that."""
        if not isinstance(marked.value, dict) or "use" in marked.value:
            return False
        near = nearest(name, [other for other in stages.value if other != name])
        if near is None:
            return False
        hint = f"did you mean the stage '{near}'? A new one needs 'use: NAME'"
        site.fault(marked.named_at, f"there is no stage '{name}' to change; {hint}")
        return True

    def declared(self, marked: Marked) -> Mapping[str, Output] | None:
        """A stage's outputs; None when its component isn't known, which the check of the stage reports."""
        schema = self.schema_of(marked)
        return None if schema is None else schema.outputs

    def schema_of(self, stage: Marked) -> Schema | None:
        use = stage.value.get("use") if isinstance(stage.value, dict) else None
        if use is None or not isinstance(use.value, str):
            return None
        try:
            return component_schema(self.registry.get("stage", use.value))
        except MmtkError:
            return None

    def circles(self, checked: Mapping[str, CheckedStage], stages: Marked) -> None:
        reads = {
            name: {source for source, _output in stage.inputs if source in checked}
            for name, stage in checked.items()
        }
        try:
            execution_order(reads)
        except RecipeError as error:
            Site("stages", self.problems).fault(stages.named_at, str(error))

    def find_output(self, text: str, wanted: Input | None) -> Reference | str:
        """Turn ``STAGE.OUTPUT`` into a reference, or say why it can't be one."""
        stage, dot, output = text.partition(".")
        if stage not in self.outputs:
            hint = spelling_hint(stage, self.outputs)
            return f"unknown stage '{stage}' in 'from: {text}'; {hint}"
        outputs = self.outputs[stage]
        if outputs is None:
            return Reference(stage, output)
        if output not in outputs:
            if not dot:
                return f"'from: {text}' names no output; write one of: {_dotted(stage, outputs)}"
            near = nearest(output, outputs)
            hint = f"did you mean '{stage}.{near}'?" if near else f"it has: {_dotted(stage, outputs)}"
            return f"stage '{stage}' has no output '{output}'; {hint}"
        artifact = outputs[output].artifact
        if wanted is not None and artifact != wanted.artifact:
            fitting = {name: one for name, one in outputs.items() if one.artifact == wanted.artifact}
            hint = f"; did you mean {_dotted(stage, fitting)}?" if fitting else ""
            return f"needs the artifact type '{wanted.artifact}', and '{text}' is of type '{artifact}'{hint}"
        return Reference(stage, output)


def _dotted(stage: str, outputs: Mapping[str, Output]) -> str:
    return ", ".join(f"{stage}.{name}" for name in outputs) or "(none)"


def _reads(node: ComponentNode) -> frozenset[tuple[str, str]]:
    return frozenset((leaf.stage, leaf.output) for leaf in leaves(node) if isinstance(leaf, Reference))
