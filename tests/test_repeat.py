"""``mmtk run RUN_DIR``: a run's folder in the place of a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.test_bad_input import RECIPE, call, run, write_data

TRAINING = RECIPE[: RECIPE.index("  capfilt:\n")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repeat")
    write_data(folder)
    (folder / "tiny.yaml").write_text(TRAINING + "profiles: {short: {stages: {pretrain: {epochs: 1}}}}\n")
    result = run(folder, "tiny.yaml", "--profile", "short", "seed=3")
    assert result.code == 0, result.err
    return folder


def weights(run_dir: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in (run_dir / "pretrain" / "checkpoint").glob("*.safetensors")
    }


def test_the_run_wrote_down_what_it_was(folder: Path) -> None:
    resolved = yaml.safe_load((folder / "runs/tiny/recipe.resolved.yaml").read_text())
    assert resolved["seed"] == 3
    assert resolved["stages"]["pretrain"]["epochs"] == 1
    environment = json.loads((folder / "runs/tiny/environment.json").read_text())
    assert environment["folder"] == str(folder)
    assert {"python", "platform", "packages"} <= set(environment)


def test_a_finished_run_has_nothing_to_do(folder: Path) -> None:
    before = weights(folder / "runs/tiny"), (folder / "runs/tiny/environment.json").stat().st_mtime_ns
    result = run(folder, "runs/tiny")
    assert result.code == 0, result.err
    assert result.out.count("already done") == 2
    assert "tiny: all stages done in" in result.out
    after = weights(folder / "runs/tiny"), (folder / "runs/tiny/environment.json").stat().st_mtime_ns
    assert before == after


def test_a_repeated_run_has_the_same_bits(folder: Path) -> None:
    result = run(folder, "runs/tiny", "run_dir=runs/again")
    assert result.code == 0, result.err
    assert "already done" not in result.out
    first = weights(folder / "runs/tiny")
    assert first
    assert first == weights(folder / "runs/again")
    # The repeated run is one that can be repeated, and says the same of itself.
    one, other = (
        yaml.safe_load((folder / f"runs/{name}/recipe.resolved.yaml").read_text())
        for name in ("tiny", "again")
    )
    assert {**one, "run_dir": ""} == {**other, "run_dir": ""}


def test_an_unfinished_run_goes_on(folder: Path) -> None:
    result = run(folder, "runs/tiny", "run_dir=runs/cut")
    assert result.code == 0, result.err
    record = folder / "runs/cut/pretrain/stage.json"
    record.write_text(record.read_text().replace('"status": "done"', '"status": "interrupted"'))
    result = run(folder, "runs/cut")
    assert result.code == 0, result.err
    assert "goes on from an earlier try (interrupted)" in result.out
    assert result.out.count("already done") == 1
    assert weights(folder / "runs/cut") == weights(folder / "runs/tiny")


def test_a_run_seen_from_elsewhere_says_where_it_was_started(folder: Path, tmp_path: Path) -> None:
    result = run(tmp_path, str(folder / "runs/tiny"))
    assert result.code == 2
    assert "there is no file or folder web, seen from" in result.err
    assert f"the run was started in {folder}; go there to repeat it" in result.err


def test_a_folder_that_is_no_runs(folder: Path) -> None:
    result = call(folder, "-m", "mmtk", "check", "web")
    assert (result.code, result.err) == (
        2,
        "mmtk: web: a folder without recipe.resolved.yaml, so no run's; give a recipe's YAML file or a run's"
        " folder\n",
    )
