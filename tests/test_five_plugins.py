"""Five plugins as third parties would write them, installed together by pip."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mmtk.engine.weights import read_weights
from tests.third_party import PACKAGES, imported_from_mmtk, install, mmtk

COMPONENTS = {
    "mmtk_siglip": ["head siglip"],
    "mmtk_coca_pooler": ["image_encoder coca_pooler"],
    "mmtk_hf_text": ["text_encoder hf_text", "tokenizer hf_tokenizer"],
    "mmtk_curriculum": ["negatives curriculum"],
    "mmtk_sqlite_logger": ["logger sqlite"],
}
MOST_LINES = 120
each_plugin = pytest.mark.parametrize("name", COMPONENTS)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("five"), *(PACKAGES / name for name in COMPONENTS))


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the recipe of mmtk_hf_text can run."""
    folder = tmp_path_factory.mktemp("german")
    script = PACKAGES / "mmtk_hf_text" / "tests" / "make_german.py"
    subprocess.run([sys.executable, script, folder / "german"], check=True, cwd=PACKAGES.parents[1])
    return folder


def run(name: str, *overrides: str, site: Path, cwd: Path) -> Path:
    """Run a plugin's recipe and return the folder of its training."""
    ran = mmtk("run", recipe(name), f"run_dir={cwd / name}", *overrides, site=site, cwd=cwd)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    return cwd / name / "train"


def recipe(name: str) -> str:
    return str(PACKAGES / name / "recipe.yaml")


def metrics(train: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (train / "metrics.jsonl").read_text("utf-8").splitlines()]


@each_plugin
def test_it_is_small_and_uses_the_public_api_alone(name: str) -> None:
    source = PACKAGES / name
    modules = list((source / name).rglob("*.py"))
    assert len(modules) >= 3
    assert sum(len(path.read_text("utf-8").splitlines()) for path in modules) <= MOST_LINES
    own = {module for module in imported_from_mmtk(source) if module.split(".")[0] == name}
    assert imported_from_mmtk(source) - own == {"mmtk.api"}
    assert len((source / "README.md").read_text("utf-8").splitlines()) <= 8
    assert list((source / "tests").glob("test_*.py"))


def test_all_are_listed_together(site: Path, tmp_path: Path) -> None:
    listed = mmtk("list-plugins", site=site, cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "broken" not in listed.stdout
    rows = [line.split() for line in listed.stdout.splitlines()]
    for name, components in COMPONENTS.items():
        distribution = name.replace("_", "-")
        found = [" ".join(row[3:5]) for row in rows if distribution in row]
        assert found == components, name


@each_plugin
def test_its_recipe_needs_it_and_is_right_with_it(site: Path, german: Path, name: str) -> None:
    checked = mmtk("check", recipe(name), site=site, cwd=german)
    assert checked.returncode == 0, checked.stderr
    without = mmtk("check", recipe(name), site=None, cwd=german)
    assert without.returncode == 2
    kind, component = COMPONENTS[name][0].split()
    assert f"unknown {kind} '{component}'" in without.stderr


def test_the_sigmoid_loss_trains_beside_itm(site: Path, tmp_path: Path) -> None:
    train = run("mmtk_siglip", site=site, cwd=tmp_path)
    lines = metrics(train)
    assert [line["step"] for line in lines] == [1, 2]
    for line in lines:
        assert line["loss"] == pytest.approx(line["loss/siglip"] + line["loss/itm"], rel=1e-4)
    assert lines[0]["siglip/bias"] == -5
    weights = read_weights(train / "checkpoint" / "weights.safetensors")
    assert weights["heads.siglip.bias"] == pytest.approx(-5, abs=0.1)
    assert weights["heads.siglip.bias"] != -5


@pytest.mark.slow
def test_all_heads_train_on_pooled_tokens(site: Path, tmp_path: Path) -> None:
    train = run("mmtk_coca_pooler", site=site, cwd=tmp_path)
    assert {"loss/itc", "loss/itm", "loss/lm"} <= metrics(train)[-1].keys()
    weights = read_weights(train / "checkpoint" / "weights.safetensors")
    assert weights["model.image_encoder.for_words.queries"].shape == (4, 48)


@pytest.mark.slow
def test_a_curriculum_is_saved_with_its_head(site: Path, tmp_path: Path) -> None:
    train = run("mmtk_curriculum", site=site, cwd=tmp_path)
    weights = read_weights(train / "checkpoint" / "weights.safetensors")
    assert weights["heads.itm.negatives.batches"] == 2


@pytest.mark.slow
def test_heads_that_need_a_decoder_say_so(site: Path, german: Path) -> None:
    changed = "stages.train.heads.lm.use=lm"
    ran = mmtk("run", recipe("mmtk_hf_text"), "run_dir=lm", changed, site=site, cwd=german)
    assert ran.returncode == 2
    assert "the head lm needs a text encoder with a decoder, such as med's med_bert" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_pictures_are_found_by_german_words(site: Path, german: Path) -> None:
    """Of 84 pictures: chance finds 6% among the first five."""
    train = run("mmtk_hf_text", "stages.train.epochs=40", site=site, cwd=german)
    scores = json.loads((train.parent / "evaluate" / "metrics.json").read_text("utf-8"))
    assert scores["test/retrieval/images"] == 84
    assert scores["test/retrieval/text_to_image/r5"] > 0.4
    assert scores["test/retrieval/image_to_text/r5"] > 0.4


@pytest.mark.slow
def test_a_checkpoint_brings_its_tokenizer_and_layout_along(site: Path, german: Path, tmp_path: Path) -> None:
    train = run("mmtk_hf_text", "stages.train.max_steps=2", site=site, cwd=german)
    moved = (train / "checkpoint").rename(tmp_path / "checkpoint")
    with tarfile.open(german / "german" / "test" / "test-000000.tar") as shard:
        member = next(one for one in shard if not one.name.endswith((".txt", ".json")))
        (picture := tmp_path / Path(member.name).name).write_bytes(shard.extractfile(member).read())  # type: ignore[union-attr]
    (german / "german" / "roberta").rename(tmp_path / "roberta")
    try:
        matched = mmtk(
            "match", "--model", str(moved), str(picture), "Bär", "grüner Apfel", site=site, cwd=tmp_path
        )
    finally:
        (tmp_path / "roberta").rename(german / "german" / "roberta")
    assert matched.returncode == 0, matched.stderr
    first, second = (json.loads(line) for line in matched.stdout.splitlines())
    assert (first["text"], second["text"]) == ("Bär", "grüner Apfel")
    assert first != second | {"text": "Bär"}


@contextmanager
def training(site: Path, cwd: Path, *overrides: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable,
        "-m",
        "mmtk",
        "run",
        recipe("mmtk_sqlite_logger"),
        "run_dir=logged",
        *overrides,
    ]
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def read(database: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.slow
def test_a_killed_run_goes_on_in_the_database(site: Path, tmp_path: Path) -> None:
    overrides = ("stages.train.epochs=30", "stages.train.max_steps=60", "stages.train.save_every=4")
    database = tmp_path / "figures.sqlite"
    with training(site, tmp_path, *overrides) as process:
        deadline = time.monotonic() + 120
        while not any((tmp_path / "logged" / "train" / "resume").glob("step-*")):
            assert process.poll() is None
            assert time.monotonic() < deadline
    ended = mmtk("run", recipe("mmtk_sqlite_logger"), "run_dir=logged", *overrides, site=site, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "going on after step" in ended.stdout
    lines = metrics(tmp_path / "logged" / "train")
    losses = read(database, "SELECT step, value FROM figures WHERE name = 'loss' ORDER BY step")
    assert losses == [(line["step"], line["loss"]) for line in lines]
    assert [step for step, _ in losses] == list(range(1, 61))
    ((run_name, tries, closed),) = read(database, "SELECT name, tries, closed FROM runs")
    assert run_name == str(tmp_path / "logged" / "train")
    assert (tries, closed is None) == (2, False)
