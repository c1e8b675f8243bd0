"""The benchmark of opening datasets in a small form: what it prints, not how fast it is."""

from __future__ import annotations

import json

import pytest

from benchmarks.index import main

SMALL = ["--shards", "2", "--samples", "30", "--image-bytes", "50", "--repeats", "1"]


def test_json_is_one_object_with_the_agreed_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"name", "value", "unit", "baseline", "ratio"}
    assert result["ratio"] == pytest.approx(result["baseline"] / result["value"])


def test_the_table_names_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SMALL) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"Made by `python -m benchmarks.index {' '.join(SMALL)}`."
    assert sum(line.startswith("| ") and "---" not in line for line in lines) == 8


def test_nonsense_sizes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--shards", "0"])
    assert "expected a positive number, not '0'" in capsys.readouterr().err
