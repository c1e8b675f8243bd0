"""docs/inference.md: its commands and its Python run, on tiny models and pictures where the page has them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mmtk.cli import main
from mmtk.cli.parser import build_parser
from mmtk.commands import BUILT_IN
from mmtk.inference.pictures import SUFFIXES
from tests.inference_run import make_run
from tests.small_learner import picture

PAGE = (Path(__file__).parents[1] / "docs" / "inference.md").read_text("utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = [line for match in FENCE.finditer(PAGE) if match[1] == "sh" for line in match[2].splitlines()]


def test_the_commands_and_the_python_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One after the other: later ones read what earlier ones have written."""
    make_run(tmp_path / "runs" / "quickstart")
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for number, name in enumerate(("cat.png", "dog.png", "more/owl.png")):
        (tmp_path / "photos" / name).write_bytes(picture(number, (32, 32)))
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) > 10
    for command in COMMANDS:
        assert run(command) == 0, command
    assert len((tmp_path / "captions.jsonl").read_text().splitlines()) == 3
    capfd.readouterr()

    (code,) = (match[2] for match in FENCE.finditer(PAGE) if match[1] == "python")
    exec(code, {})
    probability, found, captions = capfd.readouterr().out.splitlines()
    assert 0 < float(probability) < 1
    assert "cat.png" in found
    assert captions.startswith("['")


def run(command: str) -> int:
    """Run a command here if it is one of ours alone, which is faster, and otherwise in a shell."""
    if "|" not in command:
        return main(shlex.split(command)[1:])
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    shell = ["bash", "-e", "-o", "pipefail", "-c", command]
    return subprocess.run(shell, check=False, env={**os.environ, "PATH": path}).returncode


def test_the_options_and_suffixes_of_the_page_exist() -> None:
    known: set[str] = set()
    for name in ("caption", "match", "embed", "index", "search"):
        parser = build_parser(BUILT_IN, {}, [name])
        (commands,) = (action.choices for action in parser._actions if action.dest == "command")
        known |= set(commands[name]._option_string_actions)  # type: ignore[index]
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE))
    assert used <= known
    assert known - used <= {"-h", "--help", "--no-json"}
    assert set(re.findall(r"`(\.\w+)`", PAGE)) == {*SUFFIXES, ".npy", ".npz"}
