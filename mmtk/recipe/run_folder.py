"""A run's folder in the place of a recipe: what it ran, to be run again."""

from __future__ import annotations

import json
from pathlib import Path

from mmtk.errors import RecipeError
from mmtk.recipe.build import to_plain
from mmtk.recipe.check import CheckedRecipe
from mmtk.recipe.marks import literal
from mmtk.recipe.yaml_writer import write_yaml
from mmtk.stages.record import read_record

RESOLVED = "recipe.resolved.yaml"
ENVIRONMENT = "environment.json"


def resolved_text(checked: CheckedRecipe) -> str:
    """Return a recipe with every default filled in, as a run writes it down: it is a recipe itself."""
    return write_yaml(
        {
            "name": checked.name,
            "seed": checked.seed,
            "device": checked.device,
            "run_dir": str(checked.run_dir),
            "stages": {name: to_plain(stage.node) for name, stage in checked.stages.items()},
        }
    )


def recipe_of_run(folder: Path) -> tuple[Path, str]:
    """Return the recipe that a run wrote down, and the override that runs it in this same folder.

    Raises:
        RecipeError: it is no run's folder.
    """
    recipe = folder / RESOLVED
    if not recipe.is_file():
        raise RecipeError(
            f"{folder}: a folder without {RESOLVED}, so no run's; give a recipe's YAML file or a run's folder"
        )
    return recipe, f"run_dir={json.dumps(literal(str(folder)), ensure_ascii=False)}"


def plugins_of_run(folder: Path) -> frozenset[str]:
    """Return the names of the plugins that the stages of a run have used."""
    records = [read_record(path) for path in folder.iterdir() if path.is_dir()]
    return frozenset(name for record in records if record for name in record.plugins)


def started_elsewhere(folder: Path) -> str:
    """Say from where the run was started, if that is not here: its paths are seen from there."""
    try:
        started = Path(json.loads((folder / ENVIRONMENT).read_text("utf-8"))["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return "" if started == Path.cwd() else f"\nthe run was started in {started}; go there to repeat it"
