from __future__ import annotations

import json

import pytest

from benchmarks import cli_times
from benchmarks.cli_times import COMMANDS, main


def test_it_measures_every_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_times, "COMMANDS", {"--help": 0.15})
    assert main(["--repeats", "2", "--json"]) == 0
    (seconds,) = json.loads(capsys.readouterr().out).values()
    assert len(seconds) == 2
    assert min(seconds) > 0


def test_the_table_has_the_aims(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_times, "measure", lambda _: {key: [0.2, 0.1, 0.4] for key in COMMANDS})
    assert main([]) == 0
    assert "| `mmtk --help` | 0.10 s | 0.20 s | 0.15 s |" in capsys.readouterr().out
