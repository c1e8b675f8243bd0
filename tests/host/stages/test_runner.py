from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from mmtk.errors import RecipeError, StageError
from mmtk.plugins import load_plugins
from mmtk.recipe import check_recipe, load_recipe
from mmtk.recipe.fingerprint import fingerprint
from mmtk.stages.interrupt import Interrupted
from mmtk.stages.record import read_record
from mmtk.stages.runner import run_recipe
from mmtk.stages.wording import duration, size

RECIPE = """
name: chain
seed: 5
device: cpu
stages:
  page: {use: page, source: {from: second.text}}
  second: {use: write, text: two, source: {from: first.text}}
  first: {use: write, text: one}
  draw: {use: draw}
"""


@pytest.fixture(autouse=True)
def recipe(probe: Path) -> Path:
    path = probe / "chain.yaml"
    path.write_text(RECIPE)
    return path


def run(*overrides: str, recipe: str = "chain.yaml") -> str:
    """Run the recipe in this process and return what it printed."""
    registry = load_plugins().registry
    checked = check_recipe(load_recipe(recipe, overrides), registry)
    console = Console(file=io.StringIO(), width=200)
    try:
        run_recipe(checked, registry, console)
    finally:
        assert isinstance(console.file, io.StringIO)
        printed = console.file.getvalue()
        sys.stdout.write(printed)
    return printed


def tries(stage: str) -> int:
    return len((Path("runs/chain") / stage / "tries").read_text().splitlines())


def status(stage: str) -> str:
    record = read_record(Path("runs/chain") / stage)
    assert record is not None
    return str(record.status)


def section(printed: str, stage: str) -> str:
    """The lines that a run printed below a stage's heading."""
    return printed.partition(f"] {stage} (")[2].partition("\n[")[0]


def test_runs_in_order_and_hands_outputs_on() -> None:
    printed = run()
    headings = [line for line in printed.splitlines() if line.startswith("[")]
    assert headings == [
        "[1/4] first (write)",
        "[2/4] second (write)",
        "[3/4] page (page)",
        "[4/4] draw (draw)",
    ]
    assert Path("runs/chain/page/report.html").read_text() == "<p>onetwo</p>"
    assert Path("runs/chain/report.html").read_text() == "<p>onetwo</p>"
    assert printed.splitlines()[-1] == f"  report: {Path('runs/chain/report.html').absolute()}"
    assert "writing one [red]as it is[/red]" in printed


def test_the_record_of_a_stage() -> None:
    run()
    data = json.loads(Path("runs/chain/second/stage.json").read_text())
    assert data["status"] == "done"
    assert data["node"]["text"] == "two"
    assert data["node"]["source"] == {"from": "first.text"}
    assert data["plugins"] == {"probe": "mmtk-probe 1.0"}
    assert data["inputs"] == {
        "first": json.loads(Path("runs/chain/first/stage.json").read_text())["fingerprint"]
    }
    assert data["started"] <= data["finished"]
    keys = ("node", "seed", "inputs", "files", "plugins")
    assert data["fingerprint"] == fingerprint(**{key: data[key] for key in keys})


def test_a_second_run_skips_everything() -> None:
    run()
    printed = run()
    assert printed.count("already done") == 4
    assert tries("first") == tries("second") == 1
    assert "report: " in printed


def test_the_resolved_recipe_is_a_recipe_with_the_same_fingerprints() -> None:
    run("stages.second.text=zwei")
    resolved = yaml.safe_load(Path("runs/chain/recipe.resolved.yaml").read_text())
    assert resolved["stages"]["second"]["text"] == "zwei"
    assert resolved["stages"]["first"]["failure"] == "none"
    assert run(recipe="runs/chain/recipe.resolved.yaml").count("already done") == 4


def test_the_environment_is_written_down() -> None:
    run()
    environment = json.loads(Path("runs/chain/environment.json").read_text())
    assert environment["packages"]["mmtk-probe"] == "1.0"
    assert environment["python"].startswith("3.")
    assert environment["platform"]


def test_a_changed_key_reruns_the_stage_and_those_that_read_it() -> None:
    run()
    first = json.loads(Path("runs/chain/second/stage.json").read_text())["fingerprint"]
    printed = run("stages.second.text=zwei")
    assert "already done" in section(printed, "first")
    assert 'text: "two" -> "zwei"' in section(printed, "second")
    assert f"runs/chain/.superseded/second-{first[:8]}" in section(printed, "second")
    assert "input stage 'second' changed" in section(printed, "page")
    assert "already done" in section(printed, "draw")
    assert Path("runs/chain/report.html").read_text() == "<p>onezwei</p>"
    assert (Path("runs/chain/.superseded") / f"second-{first[:8]}" / "text.txt").read_text() == "onetwo"


def test_what_a_stage_would_fail_on_at_its_start_is_told_before_its_result_is_moved() -> None:
    run()
    before = Path("runs/chain/second/stage.json").read_bytes()
    with pytest.raises(StageError, match=r"^stage 'second': there is no second to read$"):
        run("stages.second.failure=unready")
    assert Path("runs/chain/second/stage.json").read_bytes() == before
    assert not Path("runs/chain/.superseded").exists()
    assert run().count("already done") == 4


def test_a_changed_seed_reruns_everything() -> None:
    run()
    assert run("seed=6").count("seed: 5 -> 6") == 4


def test_another_device_reruns_nothing() -> None:
    run()
    assert run("device=auto").count("already done") == 4


def test_a_changed_input_file_reruns_its_stage() -> None:
    Path("before.txt").write_text("zero")
    run("stages.first.source=before.txt")
    assert Path("runs/chain/first/text.txt").read_text() == "zeroone"
    assert "already done" in section(run("stages.first.source=before.txt"), "first")
    Path("before.txt").write_text("null")
    printed = run("stages.first.source=before.txt")
    assert "the content of before.txt changed" in section(printed, "first")
    assert Path("runs/chain/first/text.txt").read_text() == "nullone"


def test_a_changed_plugin_version_reruns_its_stages(probe: Path) -> None:
    run()
    metadata = probe.parent / "site" / "mmtk_probe-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 1.1"))
    assert 'plugin probe: "mmtk-probe 1.0" -> "mmtk-probe 1.1"' in section(run(), "first")


def test_a_lost_output_runs_again_and_is_said() -> None:
    run()
    Path("runs/chain/second/text.txt").unlink()
    printed = run()
    assert "lost 'text' (text.txt): runs again" in section(printed, "second")
    assert tries("second") == 2
    assert tries("first") == 1


def test_a_lost_report_copy_comes_back() -> None:
    run()
    Path("runs/chain/report.html").unlink()
    run()
    assert Path("runs/chain/report.html").read_text() == "<p>onetwo</p>"


def test_a_users_mistake_names_the_stage_and_keeps_what_is_done() -> None:
    with pytest.raises(StageError, match="stage 'second': there is nothing to read"):
        run("stages.second.failure=user")
    assert (status("first"), status("second")) == ("done", "failed")
    assert not Path("runs/chain/page").exists()


def test_a_bug_is_raised_as_it_is_and_the_next_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmtk_probe import stages

    with monkeypatch.context() as patch:
        patch.setattr(stages.time, "sleep", lambda _seconds: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run()
    assert status("first") == "failed"
    printed = run()
    assert "goes on from an earlier try (failed)" in section(printed, "first")
    assert tries("first") == 2
    assert status("first") == "done"


def test_a_broken_promise() -> None:
    with pytest.raises(
        StageError, match=r"stage 'first': ended without its declared output 'text' \(text.txt\)"
    ):
        run("stages.first.failure=promise")
    assert status("first") == "failed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_written_down(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    from mmtk_probe import stages

    with monkeypatch.context() as patch:
        patch.setattr(stages.time, "sleep", lambda _seconds: signal.raise_signal(number))
        with pytest.raises(Interrupted):
            run()
    assert status("first") == "interrupted"
    assert "goes on from an earlier try (interrupted)" in section(run(), "first")
    assert tries("first") == 2


def test_each_stage_starts_from_the_seed() -> None:
    run()
    draws = json.loads(Path("runs/chain/draw/draws.json").read_text())
    assert (draws["seed"], draws["device"]) == (5, "cpu")
    shutil.rmtree("runs")
    run("stages.first.text=another")
    assert json.loads(Path("runs/chain/draw/draws.json").read_text()) == draws
    shutil.rmtree("runs")
    run("seed=6")
    other = json.loads(Path("runs/chain/draw/draws.json").read_text())
    assert all(other[name] != draws[name] for name in ("python", "numpy", "torch"))


def test_a_device_that_is_not_there_is_said_before_work_starts() -> None:
    with pytest.raises(StageError, match="stage 'first': device 'cuda:99' was asked for"):
        run("device=cuda:99")


def test_run_dir_can_be_set() -> None:
    run("run_dir=elsewhere/x")
    assert Path("elsewhere/x/report.html").is_file()
    assert not Path("runs").exists()


def test_a_run_that_was_killed_is_mentioned() -> None:
    Path("runs/chain").mkdir(parents=True)
    Path("runs/chain/.lock").write_text("process 1 on earth since yesterday\n")
    assert "an earlier run was killed (process 1 on earth since yesterday)" in run()
    assert Path("runs/chain/.lock").read_text() == ""


def test_two_reports_of_one_name_do_not_overwrite_each_other() -> None:
    Path("two.yaml").write_text(
        RECIPE.replace("name: chain", "name: two") + "  more: {use: page, source: {from: first.text}}\n"
    )
    printed = run(recipe="two.yaml")
    texts = {path.name: path.read_text() for path in Path("runs/two").glob("*.html")}
    assert texts == {"page-report.html": "<p>onetwo</p>", "more-report.html": "<p>one</p>"}
    assert printed.count("  report: ") == 2


def test_a_circle_never_reaches_the_runner() -> None:
    with pytest.raises(RecipeError, match="circle"):
        run("stages.first.source={from: second.text}")
    assert not Path("runs").exists()


def test_importing_the_runner_imports_no_torch() -> None:
    code = "import sys, mmtk.stages.runner; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (3.14, "3.1 s"),
        (59.97, "1 min 00 s"),
        (247, "4 min 07 s"),
        (3599.6, "1 h 00 min"),
        (3720, "1 h 02 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.gpu
def test_auto_takes_the_gpu() -> None:
    run("device=auto")
    assert json.loads(Path("runs/chain/draw/draws.json").read_text())["device"] == "cuda"


@pytest.mark.parametrize(
    ("bytes_", "words"),
    [
        (512, "0.5 KiB"),
        (2048, "2 KiB"),
        (999 * 1024, "999 KiB"),
        (1023 * 1024, "0.999 MiB"),
        (5 * 2**31, "10 GiB"),
    ],
)
def test_sizes(bytes_: int, words: str) -> None:
    assert size(bytes_) == words
