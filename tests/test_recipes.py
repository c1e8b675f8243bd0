"""Every recipe that ships passes its check against the installed plugins."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmtk.engine.checkpoint_files import WEIGHTS
from mmtk.errors import RecipeError
from mmtk.plugins import PluginHost, load_plugins
from mmtk.recipe import check_recipe, load_recipe

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))

# Keys of a recipe that name files which its user brings.
PRETRAINING = ("definitions.pairs", "definitions.vocabulary")
FINE_TUNING = tuple(
    f"definitions.{name}" for name in ("init", "vocabulary", "train", "val", "test", "images")
)
USERS_FILES = {
    "albef_base.yaml": PRETRAINING,
    "blip_base.yaml": PRETRAINING,
    "blip_large.yaml": PRETRAINING,
    "blip_base_capfilt.yaml": (*PRETRAINING, "definitions.human", "definitions.human_images"),
    "capfilt.yaml": ("definitions.web.path", "definitions.captioner", "definitions.filter"),
    "tutorial.yaml": (
        "definitions.web.path",
        "definitions.images",
        "definitions.human.annotations",
        "definitions.test.annotations",
    ),
    "finetune/caption_coco.yaml": FINE_TUNING,
    "finetune/retrieval_coco.yaml": FINE_TUNING,
    "finetune/retrieval_flickr.yaml": FINE_TUNING,
}

CHECKPOINTS = ("definitions.init", "definitions.captioner", "definitions.filter")


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return load_plugins()


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_three_recipes_of_the_readme_are_there() -> None:
    assert {"quickstart.yaml", "emoji.yaml", "blip_base.yaml"} <= {path.name for path in RECIPES}


def test_every_first_party_plugin_works(host: PluginHost) -> None:
    assert {plugin.name: plugin.error for plugin in host.plugins if plugin.error} == {}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_recipe(path: Path, host: PluginHost, tmp_path: Path) -> None:
    overrides = []
    for key in USERS_FILES.get(str(path.relative_to(ROOT / "recipes")), ()):
        file = tmp_path / key
        if key in CHECKPOINTS:
            file.mkdir()
            (file / WEIGHTS).touch()
        elif key.endswith("images"):
            file.mkdir()
        else:
            file.touch()
        overrides.append(f"{key}={file}")
    recipe = check_recipe(load_recipe(path, overrides), host.registry)
    assert recipe.stages
    assert recipe.run_dir == Path("runs") / path.stem


@pytest.mark.parametrize("name", ["emoji", "blip_base_capfilt", "capfilt_ablation"])
def test_a_bootstrap_can_be_looked_into(name: str) -> None:
    report = load_recipe(ROOT / "recipes" / f"{name}.yaml").root.value["stages"].value["report"].value
    sections = {one.value["use"].value for one in report["sections"].value}
    assert {"capfilt_gallery", "capfilt_scores", "gradcam", "capfilt_explorer"} <= sections


@pytest.mark.parametrize("name", USERS_FILES)
def test_only_the_users_files_are_missed(name: str, host: PluginHost) -> None:
    with pytest.raises(RecipeError) as error:
        check_recipe(load_recipe(ROOT / "recipes" / name), host.registry)
    lines = str(error.value).splitlines()
    problems = [line for line in lines if " there is no file" in line or not line.startswith("    |")]
    problems = problems[1:] or problems  # several come below a heading
    assert len({problem.rpartition("there is no file or folder")[2] for problem in problems}) == len(
        USERS_FILES[name]
    )
    assert all("there is no file or folder" in problem for problem in problems)
