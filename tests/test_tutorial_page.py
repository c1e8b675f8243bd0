"""docs/tutorial.md and docs/coming-from.md: commands parse, recipes check, and the tutorial runs."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mmtk.cli.parser import build_parser
from mmtk.commands import BUILT_IN
from mmtk.plugins import load_plugins
from mmtk.recipe import check_recipe, load_recipe

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TUTORIAL = (DOCS / "tutorial.md").read_text("utf-8")
COMING_FROM = (DOCS / "coming-from.md").read_text("utf-8")
SHORT = "definitions.epochs={pretrain: 1, fine_tune: 1}"  # the page says so too


def blocks(page: str, language: str) -> list[str]:
    return [match[2] for match in FENCE.finditer(page) if match[1] == language]


def commands(page: str) -> list[str]:
    return [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tutorial is followed: the repository's scripts and recipes, and the data that it makes."""
    folder = tmp_path_factory.mktemp("tutorial")
    for name in ("docs", "recipes"):
        (folder / name).symlink_to(ROOT / name)
    runpy.run_path(str(DOCS / "make_tutorial_data.py"))["main"](folder / "data")
    return folder


def test_the_data_is_what_the_page_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    (code,) = blocks(TUTORIAL, "python")
    exec(code, {})
    assert capsys.readouterr().out in blocks(TUTORIAL, "text")
    labels = (folder / "data" / "labels.csv").read_text("utf-8").split()[1:]
    assert len(labels) == 200
    assert {label.partition(",")[2] for label in labels} == {"true", "false"}


def test_the_page_quotes_the_recipe() -> None:
    recipe = (ROOT / "recipes" / "tutorial.yaml").read_text("utf-8")
    quoted = blocks(TUTORIAL, "yaml")
    assert len(quoted) == 2
    assert [part for part in quoted if part not in recipe] == []
    assert f"'{SHORT}'" in TUTORIAL


@pytest.mark.parametrize("page", [TUTORIAL, COMING_FROM], ids=["tutorial", "coming-from"])
def test_the_commands_parse(page: str) -> None:
    own = [shlex.split(command)[1:] for command in commands(page) if command.startswith("mmtk ")]
    assert len(own) >= 6
    host = load_plugins()
    for words in own:
        build_parser([*BUILT_IN, *host.commands], {}, words).parse_args(words)


def test_the_recipe_checks_with_the_overrides_of_the_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    registry = load_plugins().registry
    seen = 0
    for command in commands(TUTORIAL):
        match = re.match(r"mmtk (?:check|run) (\S+)(.*)", command)
        if match:
            words = [word for word in shlex.split(match[2]) if not word.startswith("--")]
            overrides = [word for word in words if not word.endswith("/dataset")]  # written by then
            check_recipe(load_recipe(match[1], [*overrides, SHORT]), registry)
            seen += 1
    assert seen >= 3


@pytest.mark.parametrize(("heading", "recipe"), [("BLIP", "blip_base"), ("ALBEF", "albef_base")])
def test_keys_that_replace_those_of_other_programs_exist(
    heading: str, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``coming-from.md`` gives them with the values that the shipped recipe has, so nothing changes."""
    monkeypatch.chdir(tmp_path)
    section = COMING_FROM.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = [line.split(" | ")[1] for line in section.splitlines() if line.startswith("| `")]
    keys = [key for cell in cells for key in re.findall(r"`([\w.]+=[^`]+)`", cell)]
    (tmp_path / "pairs").touch()
    files = [f"definitions.{name}=pairs" for name in ("pairs", "vocabulary")]
    path = ROOT / "recipes" / f"{recipe}.yaml"
    registry = load_plugins().registry
    plain = check_recipe(load_recipe(path, files), registry).stages["pretrain"]
    for key in keys:
        changed = check_recipe(load_recipe(path, [*files, f"stages.pretrain.{key}"]), registry)
        assert changed.stages["pretrain"].node == plain.node or key.startswith("activation_checkpointing"), (
            key
        )
    assert len(keys) >= 5


def test_recipes_of_the_page_for_newcomers_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs").touch()
    files = [f"definitions.{name}=pairs" for name in ("pairs", "vocabulary")]
    registry = load_plugins().registry
    runs = [match for line in commands(COMING_FROM) if (match := re.match(r"mmtk run (\S+)(.*)", line))]
    assert len(runs) >= 4
    for match in runs:
        overrides = [word for word in shlex.split(match[2]) if "=" in word]
        check_recipe(load_recipe(ROOT / match[1], [*overrides, *files]), registry)


@pytest.mark.slow
def test_the_tutorial_runs(folder: Path) -> None:
    """Every command, in the page's order, with one epoch where a recipe runs."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    own = [command for command in commands(TUTORIAL) if command.split()[0] not in ("make", ".")]
    assert len(own) >= 11
    for command in own:
        line = f"{command} {shlex.quote(SHORT)}" if command.startswith("mmtk run") else command
        done = subprocess.run(
            ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert len(done.stdout.splitlines()) == 3  # the last command is a search for the three best
    assert (folder / "runs" / "tutorial" / "report.html").is_file()
