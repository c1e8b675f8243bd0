"""The captioning benchmark in a small form: what it prints, not how fast it is."""

from __future__ import annotations

import json

import pytest

from benchmarks.captioning import main

SMALL = ["--image-size", "32", "--width", "24", "--depth", "1", "--heads", "2", "--vocab-size", "130"]
SHORT = ["--batch", "2", "--max-length", "7", "--repeats", "1", "--threads", "1"]


def test_json_is_one_object_with_the_agreed_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, *SHORT, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"name", "value", "unit", "baseline", "ratio"}
    assert result["unit"] == "images/s"
    assert result["ratio"] == pytest.approx(result["value"] / result["baseline"])


def test_table_has_a_row_per_way_and_both_sides_write_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, *SHORT]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {
        row[0]: row[1:] for row in ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines) if row
    }
    assert {"greedy", "beam", "nucleus", "image encoder alone"} < set(rows)
    assert rows["greedy"][-1] == rows["beam"][-1] == "2 of 2"
    assert "--batch 2" in lines[-1]


def test_nonsense_sizes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--batch", "0"])
    assert "expected a positive number, not '0'" in capsys.readouterr().err
