"""The benchmark of the pass in a small form: what it prints, not how fast it is."""

from __future__ import annotations

import json

import pytest

from benchmarks.capfilt import main

SMALL = ["--size", "tiny", "--images", "4", "--batch", "2", "--repeats", "1", "--threads", "1"]


def test_json_is_one_object_with_the_agreed_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"name", "value", "unit", "baseline", "ratio"}
    assert result["ratio"] == pytest.approx(result["value"] / result["baseline"])


def test_the_table_has_a_row_for_each_step_and_counts_both_texts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SMALL) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:6]] == [
        "`caption`",
        "`itm_filter`",
        "reading, decoding, writing and waiting",
        "the pass",
    ]
    seconds, shown = lines[3].split("|")[2].strip(), lines[3].split("|")[5]
    assert " pairs" in shown
    assert float(seconds) >= 0
    assert "--size tiny" in lines[-1]
