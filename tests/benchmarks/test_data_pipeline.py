"""The data benchmark in a small form: what it prints, not how fast it is."""

from __future__ import annotations

import json

import pytest

from benchmarks.data_pipeline import main, photograph, public_transform

SMALL = [
    "--samples",
    "4",
    "--batch",
    "2",
    "--size",
    "16",
    "--width",
    "64",
    "--height",
    "48",
    "--repeats",
    "1",
]


def test_json_is_one_object_with_the_agreed_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"name", "value", "unit", "baseline", "ratio"}
    assert result["unit"] == "samples/s"
    assert result["ratio"] == pytest.approx(result["value"] / result["baseline"])


def test_table_has_a_row_per_side_and_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SMALL) == 0
    out = capsys.readouterr().out
    for name in ("mmtk, end to end", "torchvision, end to end", "Pillow: decode", "mmtk: normalise"):
        assert f"| {name} |" in out
    assert "--samples 4" in out


def test_torchvisions_side_gives_the_same_kind_of_tensor() -> None:
    tensor = public_transform(16)(photograph(0, 64, 48))
    assert tensor.shape == (3, 16, 16)
    assert 0.3 < tensor.std() < 3
