"""A run writes only into a folder that is empty or a run's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mmtk.cli import main
from mmtk.stages.run_place import what_is_foreign

RECIPE = "device: cpu\nstages: {first: {use: write, text: one}}\n"


@pytest.fixture(autouse=True)
def folder(probe: Path) -> Path:
    (probe / "small.yaml").write_text(RECIPE)
    (probe / "data").mkdir()
    for name in ("a.tar", "b.tar", "c.tar", "d.tar"):
        (probe / "data" / name).touch()
    return probe


@pytest.mark.parametrize("arguments", [("run",), ("run", "--dry-run"), ("run", "--nproc", "2")])
def test_a_folder_of_something_else_is_refused(
    arguments: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([arguments[0], "small.yaml", "run_dir=data", *arguments[1:]]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err == (
        "mmtk: data is no run's folder: it has no recipe.resolved.yaml, but a.tar, b.tar, c.tar and 1 more; "
        "give the run an empty or a new folder with run_dir=FOLDER\n"
    )
    assert len([*Path("data").iterdir()]) == 4


def test_the_check_warns_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "small.yaml", "run_dir=data"]) == 0
    assert "mmtk: warning: a run would be refused: data is no run's folder" in capsys.readouterr().err
    assert main(["check", "small.yaml", "run_dir=new"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "name",
    [".lock", "environment.json", ".recipe.resolved.yaml.123.tmp", "slurm-1.out", "console.log", ".gitkeep"],
)
def test_what_a_first_start_leaves_behind_is_no_hindrance(name: str) -> None:
    Path("run").mkdir()
    (Path("run") / name).touch()
    assert main(["run", "small.yaml", "run_dir=run"]) == 0
    assert Path("run/first/stage.json").is_file()


def test_a_run_goes_on_in_its_folder_whatever_else_lies_there() -> None:
    assert main(["run", "small.yaml", "run_dir=run"]) == 0
    shutil.copy("data/a.tar", "run")
    assert main(["run", "small.yaml", "run_dir=run"]) == 0
    Path("run/recipe.resolved.yaml").unlink()  # as before there were such
    assert main(["run", "small.yaml", "run_dir=run"]) == 0


def test_a_folder_that_may_not_be_entered_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of root's may enter any, so a name stands in that no folder can be entered by."""
    Path("run", "locked").mkdir(parents=True)
    monkeypatch.setattr("mmtk.stages.run_place.RECORD_FILE", "n" * 300)
    assert what_is_foreign(Path("run")) is not None


def test_a_folder_that_is_none_is_left_to_the_lock() -> None:
    assert what_is_foreign(Path("small.yaml")) is None
    assert what_is_foreign(Path("nowhere")) is None
