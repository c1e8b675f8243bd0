"""What a run would do, told without doing it: stages that run or are skipped, and what they would take."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtk.blame import blamed
from mmtk.errors import MmtkError
from mmtk.recipe.build import blueprint
from mmtk.stages.context import EstimateContext
from mmtk.stages.foresight import import_fault
from mmtk.stages.graph import recipe_order
from mmtk.stages.plan import Action, Decision, decide
from mmtk.stages.run_place import refuse_foreign
from mmtk.stages.wanted import WantedRecords

if TYPE_CHECKING:
    from mmtk.recipe import CheckedRecipe, CheckedStage
    from mmtk.registry import Registry

WORDS = {
    Action.SKIP: "would be skipped",
    Action.RUN: "would run",
    Action.SUPERSEDE: "would run anew, and what it had made be moved to .superseded/",
}


def dry_run(checked: CheckedRecipe, registry: Registry, say: Callable[[str], None], ranks: int = 1) -> None:
    """Tell stage by stage what a run of ``ranks`` processes would do. The run's folder stays as it is.

    Raises StageError where that folder holds files of something else.
    """
    refuse_foreign(checked.run_dir)
    with tempfile.TemporaryDirectory(prefix="mmtk-dry-run-") as scratch:
        telling = _DryRun(checked, registry, Path(scratch), ranks)
        for number, name in enumerate(telling.order, 1):
            stage = checked.stages[name]
            say(f"[{number}/{len(telling.order)}] {name} ({stage.node.use})")
            for line in telling.stage(stage):
                say(f"  {line}")
    counted = [f"{len(telling.done)} would be skipped", f"{len(telling.order) - len(telling.done)} would run"]
    say(f"{checked.name}: {', '.join(counted)}; nothing was run")


class _DryRun:
    def __init__(self, checked: CheckedRecipe, registry: Registry, scratch: Path, ranks: int) -> None:
        self.checked = checked
        self.registry = registry
        self.scratch = scratch
        self.ranks = ranks
        self.folder = checked.run_dir.absolute()
        self.order = recipe_order(checked)
        self.wanted = WantedRecords(checked, registry)
        self.done: set[str] = set()
        self.stand_ins: set[str] = set()

    def stage(self, stage: CheckedStage) -> Iterator[str]:
        if stage.inputs:
            yield f"reads {', '.join(sorted(f'{source}.{output}' for source, output in stage.inputs))}"
        decision = decide(self.folder / stage.name, self.wanted.of(stage, ""), stage.outputs)
        yield f"{WORDS[decision.action]}{''.join(f'; {reason}' for reason in decision.reasons)}"
        if decision.action is Action.SKIP:
            self.done.add(stage.name)
            return
        if fault := import_fault(stage, self.registry):
            yield f"would be refused before the first stage: {fault}"
            return
        try:
            with blamed(self.registry.get("stage", stage.node.use).described, "told what it would take"):
                yield from self.estimate(stage, decision)
        except MmtkError as error:
            yield f"can't be estimated: {error}"

    def estimate(self, stage: CheckedStage, decision: Decision) -> Iterator[str]:
        """Build the stage and let it tell what it takes, and leave what stands for its outputs."""
        inputs = {f"{source}.{output}": self.input(source, output) for source, output in sorted(stage.inputs)}
        built: Any = blueprint(stage.node, self.registry, inputs).build()
        if hasattr(built, "stand_in"):
            (self.scratch / stage.name).mkdir()
            built.stand_in(self.scratch / stage.name)
            self.stand_ins.add(stage.name)
        if not hasattr(built, "estimate"):
            yield f"not estimated: stages of '{stage.node.use}' don't tell what they take"
            return
        ready = self.done | self.stand_ins
        context = EstimateContext(
            folder=self.folder / stage.name,
            seed=self.checked.seed,
            ranks=self.ranks,
            goes_on=decision.action is Action.RUN,
            pending={path: name for name, path in inputs.items() if name.partition(".")[0] not in ready},
            registry=self.registry,
        )
        yield from built.estimate(context)
        if assumed := [name for name in inputs if name.partition(".")[0] in self.stand_ins]:
            yield f"taken as large as they may become: {', '.join(assumed)}"

    def input(self, source: str, output: str) -> Path:
        root = self.scratch if source in self.stand_ins else self.folder
        return root / source / self.checked.stages[source].outputs[output].path
