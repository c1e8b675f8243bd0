"""A finished pass is decided again by its ledger: what comes out is what another pass would have written."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmtk_capfilt.commands.resift import _check_range
from mmtk_capfilt.decisions import StepRules
from mmtk_capfilt.ledger import ITC, ITM, LedgerRow, funnel, read_ledger, read_rules, schema, to_table
from mmtk_capfilt.resift import chosen_score, read_pass, resift
from mmtk_capfilt.rules import with_thresholds
from rich.console import Console

from mmtk.api import SYNTHETIC, WEB, AtLeast, Best, DataError, StageError
from mmtk.cli import main
from mmtk.data.shards import ShardWriter
from mmtk.recipe import check_recipe, load_recipe
from mmtk.stages.runner import run_recipe
from tests.capfilt.fake_steps import SCORE, registry_with_fakes
from tests.small_learner import picture, sample

REGISTRY = registry_with_fakes()
IMAGES = 9
WEIGHTS = {"web": 0.5, "synthetic": 2, "books": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Web shards, of which a picture is damaged and the first key is there twice, and a human shard."""
    folder = tmp_path_factory.mktemp("data")
    with ShardWriter(folder / "web", "web", samples_per_shard=4) as shards:
        for n in range(IMAGES):
            shards.write(sample(n, f"Text {n}", f"another text, number {n}", "short"))
    damaged = folder / "web" / "web-000001.tar"
    damaged.write_bytes(damaged.read_bytes().replace(picture(5), bytes(len(picture(5)))))
    with ShardWriter(folder / "again", "web") as shards:
        shards.write(sample(0))
    shutil.copy(folder / "again" / "web-000000.tar", folder / "web" / "web-000003.tar")
    with ShardWriter(folder / "human", "human") as shards:
        for n in (90, 91):
            shards.write(sample(n, "a blue dog"))
    return folder


def recipe(folder: Path, data: Path, thresholds: Mapping[str, Any], **keys: Any) -> Path:
    reader = {"use": "webdataset", "path": str(data / "web")}
    steps = [
        {"use": "length_filter", "min_words": 2},
        {"use": "fake_caption"},
        {"use": "fake_filter", **thresholds},
        {"use": "keep_best", "score": SCORE, "count": 2},
        {
            "use": "merge",
            "human": {"books": {"use": "webdataset", "path": str(data / "human")}},
            "weights": WEIGHTS,
        },
    ]
    stage = {
        "use": "capfilt",
        "data": {"reader": reader, "image_transform": {"use": "blip_test", "size": 8}, "batch_size": 3},
        "steps": steps,
        "part_size": 4,
        **keys,
    }
    content = {"name": "t", "device": "cpu", "run_dir": str(folder / "run"), "stages": {"pass": stage}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "recipe.yaml"


def run_pass(folder: Path, data: Path, thresholds: Mapping[str, Any], **keys: Any) -> Path:
    """Run a pass and return its folder."""
    checked = check_recipe(load_recipe(recipe(folder, data, thresholds, **keys)), REGISTRY)
    run_recipe(checked, REGISTRY, Console(file=io.StringIO()))
    return folder / "run" / "pass"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    return run_pass(tmp_path_factory.mktemp("done"), data, {"threshold": 0.5})


def resifted(done: Path, out: Path, *thresholds: float | None) -> Path:
    finished = read_pass(done / "ledger.parquet", REGISTRY)
    assert thresholds[0] is not None
    resift(finished, with_thresholds(finished.rules, chosen_score(finished, None), *thresholds), out)  # type: ignore[arg-type]
    return out


def written(folder: Path) -> dict[str, bytes]:
    names = ("ledger.parquet", "funnel.json", "quarantine.jsonl")
    shards = {path.name: path.read_bytes() for path in (folder / "dataset").iterdir()}
    return shards | {name: (folder / name).read_bytes() for name in names}


def test_the_same_thresholds_write_the_same_files(done: Path, tmp_path: Path) -> None:
    out = resifted(done, tmp_path / "out", 0.5)
    assert written(out) == written(done)
    assert {path.name for path in out.iterdir()} == {
        "dataset",
        "ledger.parquet",
        "funnel.json",
        "quarantine.jsonl",
    }
    counts = json.loads((out / "funnel.json").read_text())
    assert 0 < counts["kept_web"] < counts["candidates"]
    assert counts["failed_images"] == 2
    assert list(tmp_path.iterdir()) == [out]


THRESHOLDS = st.one_of(st.sampled_from([n / 10 for n in range(12)]), st.floats(-1, 2, allow_nan=False))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(threshold=THRESHOLDS, synthetic=st.none() | THRESHOLDS)
def test_it_writes_what_a_fresh_pass_does(
    done: Path,
    data: Path,
    tmp_path_factory: pytest.TempPathFactory,
    threshold: float,
    synthetic: float | None,
) -> None:
    folder = tmp_path_factory.mktemp("fresh")
    fresh = run_pass(folder, data, {"threshold": threshold, "synthetic_threshold": synthetic})
    assert written(resifted(done, folder / "out", threshold, synthetic)) == written(fresh)


def test_a_resifted_ledger_tells_its_rules(done: Path, tmp_path: Path) -> None:
    path = resifted(done, tmp_path / "out", 0.3, 0.8) / "ledger.parquet"
    rules = read_rules(read_ledger(path).schema, path)
    assert [rule for step in rules for rule in step.rules] == [
        AtLeast(SCORE, 0.3, "web"), AtLeast(SCORE, 0.8, "synthetic"), Best(SCORE, 2)
    ]  # fmt: skip


def test_a_text_that_cant_be_written_fails_again_only_where_it_is_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mmtk_capfilt.part_pass.unwritable", lambda one: "no" if "drawing" in one.texts[0] else ""
    )
    done = run_pass(tmp_path / "low", data, {"threshold": 0.0})
    assert funnel(read_ledger(done / "ledger.parquet"))["failed_synthetic"] > 0
    for threshold in (0.0, 0.7, 1.1):
        fresh = run_pass(tmp_path / str(threshold), data, {"threshold": threshold})
        assert written(resifted(done, tmp_path / f"out{threshold}", threshold)) == written(fresh)


def test_parquet_shards(data: Path, tmp_path: Path) -> None:
    done = run_pass(tmp_path, data, {"threshold": 0.2}, output="parquet")
    assert written(resifted(done, tmp_path / "out", 0.2)) == written(done)


def test_a_pass_that_read_another_stages_output(tmp_path: Path) -> None:
    words = {"use": "fake_filter", "threshold": 0.4}
    web = {"use": "webdataset", "path": {"from": "emoji.human_train"}}
    data = {"reader": web, "image_transform": {"use": "blip_test", "size": 8}}
    stages = {
        "emoji": {"use": "emoji_data", "categories": ["activities"]},
        "pass": {"use": "capfilt", "data": data, "steps": [words]},
    }
    content = {"name": "t", "device": "cpu", "run_dir": str(tmp_path / "run"), "stages": stages}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
    checked = check_recipe(load_recipe(tmp_path / "r.yaml"), REGISTRY)
    run_recipe(checked, REGISTRY, Console(file=io.StringIO()))
    done = tmp_path / "run" / "pass"
    assert written(resifted(done, tmp_path / "out", 0.4)) == written(done)

    record = tmp_path / "run" / "emoji" / "stage.json"
    record.write_text(record.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    with pytest.raises(StageError, match="the stage 'emoji', which it read, has run again since"):
        read_pass(done / "ledger.parquet", REGISTRY)
    record.unlink()
    with pytest.raises(StageError, match=r"emoji is no stage's folder of a run: it has no stage\.json"):
        read_pass(done / "ledger.parquet", REGISTRY)


def test_rules_that_are_replaced() -> None:
    web, best = AtLeast("a", 0.2, WEB), Best("a", 1)
    rules = [StepRules("one", (AtLeast("b", 0.9), AtLeast("a", 0.1), best, web)), StepRules("two", (web,))]
    assert with_thresholds(rules, "a", 0.5) == [
        StepRules("one", (AtLeast("b", 0.9), AtLeast("a", 0.5), best)),
        StepRules("two", (AtLeast("a", 0.5, WEB),)),
    ]
    apart = [StepRules("one", (AtLeast("a", 0.1, WEB), AtLeast("a", 0.9, SYNTHETIC)))]
    for synthetic, left in ((None, 0.9), (0.3, 0.3)):
        (changed,) = with_thresholds(apart, "a", 0.5, synthetic)
        assert changed.rules == (AtLeast("a", 0.5, WEB), AtLeast("a", left, SYNTHETIC))
    assert with_thresholds(rules, "c", 0.5) == [*rules, StepRules("resift", (AtLeast("c", 0.5),))]
    books = StepRules("books", (AtLeast("a", 0.2, "human"),))
    assert with_thresholds([books], "a", 0.5)[0] == books


def test_data_that_has_changed_is_refused(data: Path, tmp_path: Path) -> None:
    own = tmp_path / "data"
    shutil.copytree(data, own)
    done = run_pass(tmp_path, own, {"threshold": 0.5})
    (own / "web" / "web-000003.tar").unlink()
    (own / "web" / "web-000000.tar").unlink()
    with pytest.raises(DataError, match=r"about \d+ images, and the datasets .* have changed since"):
        resifted(done, tmp_path / "out", 0.0)
    shutil.copytree(data, own, dirs_exist_ok=True)
    with ShardWriter(tmp_path / "other", "web", samples_per_shard=4) as shards:
        for n in range(4):
            shards.write(sample(n, key=f"other{n}"))
    shutil.copy(tmp_path / "other" / "web-000000.tar", own / "web" / "web-000000.tar")
    with pytest.raises(DataError, match=r"where the pass found the image 'k0' there is 'other\d' now"):
        resifted(done, tmp_path / "out", 0.0)
    assert not any("out" in path.name for path in tmp_path.iterdir())


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command finds the fakes."""
    from mmtk import plugins

    real = plugins.load_plugins()
    monkeypatch.setattr(plugins, "load_plugins", lambda: plugins.PluginHost(REGISTRY, real.plugins))


@pytest.mark.usefixtures("command")
def test_the_command(done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(done.parent, tmp_path / "run")
    path = tmp_path / "run" / "pass"
    assert main(["capfilt", "resift", str(path / "ledger.parquet"), "--threshold", "0.5"]) == 0
    out = path.with_name("pass-fake_score-0.5")
    captured = capsys.readouterr()
    assert captured.out == f"wrote {out}\n"
    assert "samples written" in captured.err
    assert written(out) == written(done)
    other = ["--threshold", "0.1", "--synthetic-threshold", "0.9", "--score", SCORE]
    assert main(["capfilt", "resift", str(path), *other]) == 0
    assert (path.parent / "pass-fake_score-0.1-synthetic-0.9" / "dataset").is_dir()
    assert main(["capfilt", "resift", str(path), *other, "--out", str(tmp_path / "mine")]) == 0
    assert written(tmp_path / "mine") == written(path.parent / "pass-fake_score-0.1-synthetic-0.9")
    capsys.readouterr()
    assert main(["capfilt", "resift", str(path), "--threshold", "0.5"]) == 2
    assert "pass-fake_score-0.5 is there already; name another folder with --out" in capsys.readouterr().err


def refused(capsys: pytest.CaptureFixture[str], ledger: Path, *options: str) -> str:
    """What the command says when it can't do its work, on one line."""
    assert main(["capfilt", "resift", str(ledger), "--threshold", "0.5", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("score", "threshold", "bounds"), [(ITM, "33", "[0, 1]"), (ITM, "-1", "[0, 1]"), (ITC, "-1.5", "[-1, 1]")]
)
def test_thresholds_outside_of_the_score_are_refused(score: str, threshold: str, bounds: str) -> None:
    with pytest.raises(DataError, match=re.escape(f"a threshold of {score} is in {bounds}, not {threshold}")):
        _check_range(score, (None, float(threshold)))
    _check_range(score, (0.0, 1.0))
    _check_range("own_score", (33.0,))


@pytest.mark.usefixtures("command")
def test_the_command_in_the_folder_of_the_pass(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(done.parent, tmp_path / "run")
    folder = tmp_path / "run" / "pass"
    monkeypatch.chdir(folder)
    assert main(["capfilt", "resift", "ledger.parquet", "--threshold", "0.5"]) == 0
    assert capsys.readouterr().out == f"wrote {folder.with_name('pass-fake_score-0.5')}\n"
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert main(["capfilt", "resift", str(folder), "--threshold", "0.5", "--out", "."]) == 0
    assert written(tmp_path / "empty") == written(done)


@pytest.mark.usefixtures("command")
def test_the_command_where_the_paths_of_the_recipe_lead_nowhere(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(done.parent, tmp_path / "run")
    record = tmp_path / "run" / "pass" / "stage.json"
    (reader,) = {one for one in record.read_text().split('"') if one.endswith("/web")}
    record.write_text(record.read_text().replace(reader, "data/web"))
    said = refused(capsys, record.parent)
    assert "the data that the pass read can't be opened: no such file, folder or pattern" in said
    assert "without a leading / count from the folder in which mmtk is called" in said


@pytest.mark.usefixtures("command")
def test_what_is_no_ledger_of_a_pass(done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, tmp_path / "nowhere.parquet")
    assert "nowhere.parquet: there is no such file; expected a pass's ledger.parquet or its folder" in said
    said = refused(capsys, done.parent)
    assert f"there is no ledger.parquet in it; did you mean {done}?" in said
    (tmp_path / "text.parquet").write_text("no table")
    assert "text.parquet can't be read as a Parquet file" in refused(capsys, tmp_path / "text.parquet")
    pq.write_table(pa.table({"key": ["a"]}), tmp_path / "table.parquet")
    assert "table.parquet has no column" in refused(capsys, tmp_path / "table.parquet")
    pq.write_table(to_table([LedgerRow("s", "a", "a", "web", "b")], schema((), ())), tmp_path / "l.parquet")
    assert "is no stage's folder of a run" in refused(capsys, tmp_path / "l.parquet")
    assert "has no score 'fake_scor'; did you mean 'fake_score'?" in refused(
        capsys, done, "--score", "fake_scor"
    )
    assert "has no score 'itm_probability'; there are: fake_score" in refused(
        capsys, done, "--score", "itm_probability"
    )


@pytest.mark.usefixtures("command")
def test_joined_ledgers_and_passes_that_are_not_done(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    join = {"use": "join_ledgers", "ledgers": [str(done / "ledger.parquet")]}
    content = {"name": "j", "run_dir": str(tmp_path / "run"), "stages": {"joined": join}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
    run_recipe(
        check_recipe(load_recipe(tmp_path / "r.yaml"), REGISTRY), REGISTRY, Console(file=io.StringIO())
    )
    said = refused(capsys, tmp_path / "run" / "joined")
    assert "written by a stage join_ledgers, not by a pass (capfilt); resift the ledger of each pass" in said
    folder = tmp_path / "half"
    shutil.copytree(done, folder)
    (folder / "stage.json").write_text((folder / "stage.json").read_text().replace('"done"', '"interrupted"'))
    assert "the stage is not done (interrupted); mmtk run goes on with it" in refused(capsys, folder)


def test_a_threshold_that_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["capfilt", "resift", "x", "--threshold", "nan"])
    assert "argument --threshold: expected a number, not 'nan'" in capsys.readouterr().err
