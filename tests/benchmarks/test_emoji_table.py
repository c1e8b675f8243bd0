from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import emoji_table, seed_runs
from benchmarks.emoji_table import FIGURES, MODELS, SPLITS, TABLE, read_run, summary, table
from benchmarks.seed_runs import BEGIN, END, Spread, TableError, spread
from mmtk.plugins import load_plugins
from mmtk.recipe import check_recipe, load_recipe
from mmtk.stages.record import StageRecord, Status, write_record

ROOT = Path(__file__).parents[2]
FILTER = {
    "roc_auc": 0.91,
    "dropped_precision": 0.8,
    "dropped_recall": 0.7,
    "wrong_before": 0.45,
    "wrong_after": 0.15,
}

# Stands in for 'mmtk run': leaves a finished run's folder behind, or what the variable MODE asks for.
STAND_IN = """
import os, pathlib, shutil, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
made, folder, seed = sys.argv[1:4]
target = pathlib.Path(folder)
target.mkdir(parents=True)
print("said by", seed, *sys.argv[4:])
(target / "started").write_text(os.environ["OMP_NUM_THREADS"])
if os.environ.get("MODE") == "fail":
    failing = target.with_name("seed-0") / "pid"
    if seed == "0":
        failing.with_name("pid.part").write_text(str(os.getpid()))
        failing.with_name("pid.part").rename(failing)
        sys.exit(3)
    # The others end after the failure was noticed, so that it decides whether a further one is started.
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            os.kill(int(failing.read_text()), 0)
        except ProcessLookupError:
            break
        except FileNotFoundError:
            pass
        time.sleep(0.01)
if os.environ.get("MODE") == "together":
    other = target.with_name(f"seed-{1 - int(seed)}") / "started"
    until = time.monotonic() + 60
    while not other.exists() and time.monotonic() < until:
        time.sleep(0.01)
    if not other.exists():
        sys.exit(4)
if os.environ.get("MODE") == "wait":
    try:
        time.sleep(100)
    finally:
        (target / "ended").touch()
shutil.copytree(pathlib.Path(made) / f"seed-{seed}", target, dirs_exist_ok=True)
"""


def make_run(runs: Path, seed: int, noisy: float = 0.4, bootstrapped: float = 0.5, **changes: Any) -> Path:
    """A finished run's files: all figures of a model alike, and 90 s of stages."""
    folder = runs / f"seed-{seed}"
    stages = {"pretrain_noisy": 60, "evaluate_noisy": 10, "evaluate_bootstrapped": 15, "evaluate_filter": 5}
    for stage, seconds in stages.items():
        (folder / stage).mkdir(parents=True)
        started, finished = "2026-01-01T23:59:00+00:00", f"2026-01-0{1 + seconds // 60}T"
        finished += "00:00:00+00:00" if seconds == 60 else f"23:59:{seconds:02d}+00:00"
        record = StageRecord(Status.DONE, "f", {}, seed, started=started, finished=finished)
        write_record(folder / stage, record)
    for model, value in zip(MODELS, (noisy, bootstrapped), strict=True):
        figures = {f"{split}/{figure}": value for split in SPLITS for figure in FIGURES.values()}
        (folder / f"evaluate_{model}" / "metrics.json").write_text(json.dumps(figures))
    (folder / "evaluate_filter" / "filter.json").write_text(json.dumps({**FILTER, **changes}))
    recipe = {"device": "cpu", "stages": dict.fromkeys(stages)}
    (folder / "recipe.resolved.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def summed(runs: Path, *seeds: int) -> dict[str, Any]:
    return summary([read_run(runs / f"seed-{seed}", seed) for seed in seeds], "the command", 1)


def test_mean_and_sample_deviation() -> None:
    found = spread([0.2, 0.4, 0.9])
    assert found is not None
    assert found.mean == pytest.approx(0.5)
    assert found.deviation == pytest.approx((0.26 / 2) ** 0.5)
    assert spread([0.3]) == Spread(0.3, None)
    assert spread([0.3, None]) is None
    assert spread([]) is None


def test_a_run_is_read(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path, 7), 7)
    assert (run.seed, run.device, run.seconds) == (7, "cpu", 90)
    assert run.metrics["noisy"]["test/captions/cider"] == 0.4
    assert run.filter == FILTER
    assert run.change == pytest.approx(0.25)


def test_the_table_over_three_seeds(tmp_path: Path) -> None:
    for seed, noisy, bootstrapped in ((0, 0.4, 0.5), (1, 0.5, 0.6), (2, 0.3, 0.43)):
        make_run(tmp_path, seed, noisy, bootstrapped, roc_auc=0.8 + seed / 10)
    lines = table(summed(tmp_path, 0, 1, 2)).splitlines()
    assert lines[0] == "| split | trained on | T2I R@1 | T2I R@10 | I2T R@1 | I2T R@10 | CIDEr | BLEU-4 |"
    assert [line.split("|")[1:3] for line in lines[2:8]] == [
        [f" `{split}` ", f" {model} pairs "] for split in SPLITS for model in MODELS
    ]
    assert all(line.endswith("| 0.400 ± 0.100" + " | 0.400 ± 0.100" * 5 + " |") for line in lines[2:8:2])
    assert all(line.count("0.510 ± 0.085") == 6 for line in lines[3:8:2])
    assert "| T2I R@1 on `test`, bootstrapped pairs | 0.510 ± 0.085 | > 0.44 | yes |" in lines
    # +25%, +20% and +43.3%: the spread is that of the runs' own changes.
    assert "| its relative change from noisy to bootstrapped pairs | +29.4 ± 12.3% | ≥ +20% | yes |" in lines
    assert "| filter: ROC AUC, wrong against right web texts | 0.900 ± 0.100 | ≥ 0.90 | yes |" in lines
    assert "| filter: precision of what was dropped | 0.800 ± 0.000 |  |  |" in lines
    assert "| filter: recall of the wrong texts | 0.700 ± 0.000 |  |  |" in lines
    assert "| wrong web texts before the filter | 45.0 ± 0.0% |  |  |" in lines
    assert "| wrong web texts after the filter | 15.0 ± 0.0% |  |  |" in lines
    assert "| minutes per run | 1.5 ± 0.0 |  |  |" in lines
    assert "seeds 0, 1, 2. Made by `the command` on cpu (" in lines[-1]


def test_aims_that_are_missed_and_figures_that_are_undefined(tmp_path: Path) -> None:
    folder = make_run(tmp_path, 0, 0.0, 0.44)
    (folder / "evaluate_filter" / "filter.json").write_text('{"roc_auc": 0.899}')
    result = summed(tmp_path, 0)
    lines = table(result).splitlines()
    assert "| T2I R@1 on `test`, bootstrapped pairs | 0.440 | > 0.44 | no |" in lines
    assert "| its relative change from noisy to bootstrapped pairs | undefined | ≥ +20% | no |" in lines
    assert "| filter: ROC AUC, wrong against right web texts | 0.899 | ≥ 0.90 | no |" in lines
    assert "| wrong web texts after the filter | undefined |  |  |" in lines
    assert "Shown: the seed 0." in lines[-1]
    make_run(tmp_path, 1, 0.5, 0.45)
    change = table(summed(tmp_path, 1)).splitlines()
    assert "| its relative change from noisy to bootstrapped pairs | -10.0% | ≥ +20% | no |" in change


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("recipe.resolved.yaml", "there is no {run}/recipe.resolved.yaml: this run is missing or not"),
        ("pretrain_noisy/stage.json", "{run}: its stage 'pretrain_noisy' is not done (has not been run)"),
        ("evaluate_noisy/metrics.json", "there is no {run}/evaluate_noisy/metrics.json"),
        ("evaluate_filter/filter.json", "there is no {run}/evaluate_filter/filter.json"),
    ],
)
def test_a_run_that_lacks_a_file(tmp_path: Path, lost: str, message: str) -> None:
    run = make_run(tmp_path, 1)
    (run / lost).unlink()
    with pytest.raises(TableError) as error:
        read_run(run, 1)
    assert str(error.value).startswith(message.format(run=run))


def test_a_run_that_is_not_finished_or_damaged(tmp_path: Path) -> None:
    run = make_run(tmp_path, 1)
    metrics = run / "evaluate_bootstrapped" / "metrics.json"
    metrics.write_text(metrics.read_text().replace("test_novel/captions/cider", "novel/captions/cider"))
    with pytest.raises(TableError, match=r"metrics\.json has no figure test_novel/captions/cider$"):
        read_run(run, 1)
    metrics.write_text('{"test/')
    with pytest.raises(TableError, match=r"evaluate_bootstrapped/metrics\.json can't be read: "):
        read_run(run, 1)
    write_record(run / "pretrain_noisy", StageRecord(Status.INTERRUPTED, "f", {}, 1))
    with pytest.raises(TableError, match=r"its stage 'pretrain_noisy' is not done \(interrupted\)"):
        read_run(run, 1)


def test_what_is_read_is_what_the_recipe_makes() -> None:
    """The names of stages, splits and metrics that the table reads are the recipe's."""
    recipe = check_recipe(load_recipe(emoji_table.RECIPE), load_plugins().registry)
    for model in MODELS:
        stage = recipe.stages[f"evaluate_{model}"]
        assert stage.outputs["metrics"].path == "metrics.json"
        assert stage.inputs >= {(f"pretrain_{model}", "checkpoint")}
        keys: Mapping[str, Any] = stage.node.keys
        assert set(keys["splits"]) == set(SPLITS)
        assert {figure.partition("/")[0] for figure in FIGURES.values()} == set(keys["metrics"])
    assert recipe.stages["evaluate_filter"].outputs["metrics"].path == "filter.json"


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace ``mmtk run`` by a process that copies a made-up run; return the folder of these."""
    made = tmp_path / "made"
    for seed in range(3):
        make_run(made, seed)

    def command(_recipe: Path, folder: Path, seed: int, overrides: Any) -> list[str]:
        return [sys.executable, "-c", STAND_IN, str(made), str(folder), str(seed), *overrides]

    monkeypatch.setattr(seed_runs, "mmtk_command", command)
    monkeypatch.chdir(tmp_path)
    return made


@pytest.mark.usefixtures("stand_in")
def test_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert TABLE.main(["definitions.size=32", "--json", "--seeds", "2,0", "device=cpu"]) == 0
    captured = capfd.readouterr()
    result = json.loads(captured.out)
    assert [run["seed"] for run in result["runs"]] == [2, 0]
    assert result["splits"]["test"]["noisy"]["T2I R@1"] == {"mean": 0.4, "deviation": 0.0}
    assert result["relative_change"]["mean"] == pytest.approx(0.25)
    assert result["aims"] == {"bootstrapped_r1": 0.44, "relative_change": 0.2, "filter_roc_auc": 0.9}
    assert result["command"] == (
        "python -m benchmarks.emoji_table definitions.size=32 --json --seeds 2,0 device=cpu"
    )
    cores = len(os.sched_getaffinity(0))
    assert result["machine"]["cores"] == cores
    assert (tmp_path / "runs/emoji_table/seed-2/started").read_text() == str(cores)
    assert "said by 2 definitions.size=32 device=cpu" in captured.err
    assert not (tmp_path / "runs/emoji_table/seed-1").exists()


@pytest.mark.usefixtures("stand_in")
def test_runs_side_by_side(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODE", "together")
    monkeypatch.setattr(seed_runs, "cores", lambda: 5)
    assert TABLE.main(["--seeds", "0,1", "--at-once", "2", "--runs", "here"]) == 0
    captured = capfd.readouterr()
    assert "(5 cores, 2 runs side by side, OMP_NUM_THREADS=2)" in captured.out
    assert (tmp_path / "here/seed-0/started").read_text() == "2"
    assert (tmp_path / "here/seed-1.log").read_text() == "said by 1\n"
    assert "said by" not in captured.out + captured.err


@pytest.mark.usefixtures("stand_in")
def test_a_failed_run_ends_it_with_a_message(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODE", "fail")
    assert TABLE.main(["--runs", "here"]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("emoji_table: the run with seed 0 ended with exit code 3\n")
    assert not (tmp_path / "here/seed-1").exists()
    assert TABLE.main(["--runs", "there", "--at-once", "2"]) == 2
    assert "seed 0 ended with exit code 3; see there/seed-N.log" in capfd.readouterr().err
    assert (tmp_path / "there/seed-1/recipe.resolved.yaml").exists(), "the other run was not waited for"
    assert not (tmp_path / "there/seed-2").exists()


def test_an_interruption_reaches_the_runs(tmp_path: Path) -> None:
    code = (
        "import sys; from benchmarks import emoji_table as t, seed_runs; "
        "seed_runs.mmtk_command = lambda r, f, s, o: "
        f"[sys.executable, '-c', {STAND_IN!r}, '.', str(f), str(s)]; "
        "sys.exit(t.TABLE.main(['--runs', sys.argv[1]]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "MODE": "wait", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not (tmp_path / "seed-0" / "started").exists():
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.endswith("emoji_table: interrupted; the same command goes on from here\n")
    assert (tmp_path / "seed-0" / "ended").exists(), "the run was left alone"


def test_the_real_command_is_mmtk_run(tmp_path: Path) -> None:
    command = seed_runs.mmtk_command(
        emoji_table.RECIPE, tmp_path / "seed-4", 4, ["definitions.epochs.pretrain=frist"]
    )
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "expected a whole number, not 'frist'" in result.stderr
    assert command[-3:-1] == [f"run_dir={tmp_path / 'seed-4'}", "seed=4"]
    assert emoji_table.RECIPE == ROOT / "recipes" / "emoji.yaml"


@pytest.mark.usefixtures("stand_in")
def test_the_table_goes_between_the_marks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"# Title\n\n{BEGIN}\nan old\ntable\n{END}\n\nend\n")
    assert TABLE.main(["--write", "README.md"]) == 0
    printed = capfd.readouterr().out
    assert page.read_text() == f"# Title\n\n{BEGIN}\n\n{printed}\n{END}\n\nend\n"
    assert printed.startswith("| split |")


@pytest.mark.parametrize("text", ["no marks", BEGIN, f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}", None])
@pytest.mark.usefixtures("stand_in")
def test_a_file_without_marks_is_refused_before_anything_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str | None
) -> None:
    page = tmp_path / "README.md"
    if text is not None:
        page.write_text(text)
    assert TABLE.main(["--write", str(page)]) == 2
    assert f"emoji_table: {page} " in capfd.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert text is None or page.read_text() == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "1,x"], "expected seeds such as 0,1,2, not '1,x'"),
        (["--at-once", "0"], "expected a number of at least 1, not '0'"),
        (["seed=3"], "'seed' is set per run; use --seeds and --runs"),
        (["run_dir=x"], "'run_dir' is set per run"),
        (["epochs"], "expected key=value, not 'epochs'"),
    ],
)
def test_wrong_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as end:
        TABLE.main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_the_readme_has_the_marks_and_make_writes_there() -> None:
    assert seed_runs.around_marks(ROOT / "README.md")
    assert "-m benchmarks.emoji_table --write README.md $(RESULTS_ARGS)" in (ROOT / "Makefile").read_text()
