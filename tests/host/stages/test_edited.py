"""A stage whose code is edited in place is skipped as before, and says how it runs again."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmtk.cli import main
from tests.host.conftest import PROBE


@pytest.fixture
def package(probe: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the probe, installed editable as pip notes it, and a recipe with one stage of it, done."""
    for name in loaded():
        monkeypatch.delitem(sys.modules, name)
    copy = shutil.copytree(PROBE, probe.parent / "source")
    monkeypatch.syspath_prepend(str(copy))
    editable = '{"url": "file:///source", "dir_info": {"editable": true}}'
    (probe.parent / "site" / "mmtk_probe-1.0.dist-info" / "direct_url.json").write_text(editable)
    age(copy / "mmtk_probe", -60)
    (probe / "one.yaml").write_text("name: one\nstages:\n  first: {use: write, text: one}\n")
    assert main(["run", "one.yaml"]) == 0
    yield copy / "mmtk_probe"
    for name in loaded():
        del sys.modules[name]


def loaded() -> list[str]:
    """The probe's modules, which another test may have imported from their own place."""
    return [name for name in sys.modules if name.partition(".")[0] == "mmtk_probe"]


def age(package: Path, seconds: float) -> None:
    for file in package.rglob("*.py"):
        os.utime(file, (time.time() + seconds,) * 2)


def skipped(capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["run", "one.yaml"]) == 0
    said = capsys.readouterr().out
    assert "already done" in said
    return said


HINT = (
    "  mmtk-probe has been edited since, without a new version: raise it, or delete runs/one/first, "
    "and the stage runs again\n"
)


def test_an_edit_is_told(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "edited" not in skipped(capsys)
    age(package, 60)
    assert HINT in skipped(capsys)


def test_an_editors_link_that_leads_nowhere_is_passed_over(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (package / ".#plugin.py").symlink_to("user@host.1")
    assert "edited" not in skipped(capsys)


def test_files_of_a_plain_install_are_not_looked_at(
    package: Path, probe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    age(package, 60)
    (probe.parent / "site" / "mmtk_probe-1.0.dist-info" / "direct_url.json").unlink()
    assert "edited" not in skipped(capsys)
