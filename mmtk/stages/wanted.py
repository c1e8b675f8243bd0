"""The records that a recipe's stages would write if they ran now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmtk.recipe.fingerprint import file_identities, fingerprint, plugin_versions, without_keys
from mmtk.stages.record import StageRecord, Status

if TYPE_CHECKING:
    from mmtk.recipe import CheckedRecipe, CheckedStage
    from mmtk.registry import Registry


class WantedRecords:
    """Makes the records of a recipe's stages, each one behind those of the stages it reads."""

    def __init__(self, checked: CheckedRecipe, registry: Registry) -> None:
        self._checked = checked
        self._registry = registry
        self._fingerprints: dict[str, str] = {}

    def of(self, stage: CheckedStage, started: str) -> StageRecord:
        """Return the record of a try that starts at ``started``."""
        config = self._registry.get("stage", stage.node.use).config()
        node, plain = without_keys(stage.node, getattr(config, "SAME_RESULT", ()))
        sources = sorted({name for name, _output in stage.inputs})
        identity: dict[str, Any] = {
            "node": plain,
            "seed": self._checked.seed,
            "inputs": {source: self._fingerprints[source] for source in sources},
            "files": file_identities(node),
            "plugins": plugin_versions(node, self._registry),
        }
        self._fingerprints[stage.name] = fingerprint(**identity)
        return StageRecord(Status.RUNNING, self._fingerprints[stage.name], **identity, started=started)
