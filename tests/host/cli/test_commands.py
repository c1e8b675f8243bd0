from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from mmtk.cli import main
from mmtk.commands import BUILT_IN, load_command

HEAVY = ("torch", "torchvision", "transformers", "timm", "fairscale", "pyarrow", "matplotlib", "numpy")
NO_HEAVY_IMPORT = f"""
import sys
from mmtk.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as end:
    code = end.code
found = [name for name in {HEAVY!r} if name in sys.modules]
sys.exit(f"imported {{found}}" if found else code)
"""

NAMES = [command.name for command in BUILT_IN]
RECIPE = "name: tiny\nstages:\n  first: {use: write, text: one}\n"


@pytest.fixture
def recipe(probe: Path) -> Path:
    path = probe / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["list-plugins"], ["check", "tiny.yaml"], ["run", "-h"]]
)
@pytest.mark.usefixtures("recipe")
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", NO_HEAVY_IMPORT, *arguments], check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_the_installed_command_is_this_one() -> None:
    command = Path(sys.executable).with_name("mmtk")
    result = subprocess.run([command, "--version"], check=True, capture_output=True, text=True)
    assert result.stdout == f"mmtk {version('mmtk')}\n"


def test_the_summaries_are_those_of_the_modules() -> None:
    for command in BUILT_IN:
        assert (load_command(command).__doc__ or "").splitlines()[0] == command.summary


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in NAMES)


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
    assert "list-plugins" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("rnu", "did you mean 'run'?"),
        ("list-plugin", "did you mean 'list-plugins'?"),
        ("xyzzy", "there are run, check"),
    ],
)
def test_a_misspelt_command(capsys: pytest.CaptureFixture[str], word: str, hint: str) -> None:
    with pytest.raises(SystemExit) as end:
        main([word])
    assert end.value.code == 2
    assert f"mmtk: unknown command '{word}'; {hint}" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["run"], ["check"], ["check", "tiny.yaml", "--verbose"], ["--rnu"]])
def test_wrong_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "--help'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "tiny.yaml", "--dryrun"], "--dryrun; its options are --help, --profile"),
        (["run", "tiny.yaml", "--dryrun"], "--dryrun; did you mean --dry-run?"),
        (["run", "tiny.yaml", "--resolve", "seed=1"], "--resolve seed=1; did you mean --resolved?"),
        (["run", "tiny.yaml", "--nprocs=2", "--drun"], "--nprocs=2 --drun; did you mean --nproc, --dry-run?"),
    ],
)
def test_an_unknown_option(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    name = f"mmtk {arguments[0]}"
    assert capsys.readouterr().err == f"{name}: unknown arguments: {message}\nsee '{name} --help'\n"


def test_an_unknown_option_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--verson", "check", "tiny.yaml"])
    assert end.value.code == 2
    assert "did you mean --version?" in capsys.readouterr().err


def test_check(capsys: pytest.CaptureFixture[str], recipe: Path) -> None:
    assert main(["check", recipe.name]) == 0
    assert capsys.readouterr().out == "tiny.yaml: 1 stage, nothing wrong\n"
    assert not Path("runs").exists()


def test_check_takes_overrides_as_run_does(capsys: pytest.CaptureFixture[str], recipe: Path) -> None:
    assert (
        main(["check", recipe.name, "seed=3", "stages.first.text=two", "stages.more={use: write, text: x}"])
        == 0
    )
    assert capsys.readouterr().out == "tiny.yaml: 2 stages, nothing wrong\n"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.first.text=[1]", "stages.first.text"),
        ("stages.first.txt=x", "did you mean 'text'?"),
        ("stages.first.use=wriet", "did you mean 'write'?"),
        ("stages.first.source=nowhere.txt", "nowhere.txt"),
        ("stages.first.source={from: secnd.text}", "unknown stage 'secnd'"),
        ("stages.first.seconds=soon", "seconds"),
        ("no-equals-sign", "key=value"),
    ],
)
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_mistake_in_a_recipe(
    capsys: pytest.CaptureFixture[str], recipe: Path, command: str, override: str, message: str
) -> None:
    assert main([command, recipe.name, override]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("mmtk: ")
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not Path("runs").exists()


@pytest.mark.usefixtures("probe")
def test_a_missing_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "missing.yaml"]) == 2
    assert "missing.yaml: there is no such recipe" in capsys.readouterr().err


@pytest.mark.usefixtures("probe")
def test_list_plugins(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list-plugins"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["plugin", "distribution", "kind", "name", "summary"] in rows
    assert ["probe", "mmtk-probe", "1.0", "stage", "write", "writes", "a", "text"] in rows
    assert ["blip", "mmtk", version("mmtk"), "head", "itm"] in [row[:5] for row in rows]


def test_a_broken_plugin_is_listed_with_its_reason(capsys: pytest.CaptureFixture[str], probe: Path) -> None:
    entry_points = probe.parent / "site" / "mmtk_probe-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text(entry_points.read_text() + "torn = mmtk_probe.nowhere\n")
    assert main(["list-plugins"]) == 0
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith("broken: torn")]
    assert "mmtk-probe 1.0, mmtk_probe.nowhere" in line
    assert "No module named 'mmtk_probe.nowhere'" in line
    assert "writes a text" in printed


def test_an_interruption_before_the_run_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, recipe: Path
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mmtk.plugins.load_plugins", interrupt)
    assert main(["check", recipe.name]) == 130
    assert capsys.readouterr().err == "mmtk: interrupted\n"
