"""The cost model: its arithmetic, and that what it measures goes through a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.scaling import _parser, assumed_rates, cost, main, measured_rates
from benchmarks.scaling_figures import Figures

FIGURES = Figures(
    threads=2,
    gemm=100e9,
    train_flops=200e9,
    train_rate=0.25,
    caption_flops=100e9,
    caption_rate=0.5,
    score_flops=400e9,
    score_rate=1.0,
    parameters=1000,
    average=600,
    queue_bytes=400,
    overhead=3000.0,
    emoji=4000.0,
    index_file=45.0,
    index_memory=37.0,
    open_seconds=1e-6,
    headers_seconds=1e-4,
    state_error=0.01,
    save_rate=1e6,
    load_rate=1e3,
)


def test_costs_by_hand() -> None:
    options = _parser().parse_args(
        ["--tflops", "10", "--utilisation", "0.5", "--generation", "0.1", "--image-bytes", "7000"]
    )
    here, there = measured_rates(FIGURES), assumed_rates(FIGURES, options)
    assert (there.train, there.caption, there.score) == pytest.approx((25, 10, 12.5))
    found = cost(36_000, FIGURES, [here, there], options)
    assert found.pretrain == pytest.approx({"CPU": 800, "H100": 8})  # 20 epochs: 720,000 pairs
    assert found.bootstrap == pytest.approx({"CPU": 20 + 10, "H100": 1 + 0.8})
    assert found.whole == pytest.approx({"CPU": 1630, "H100": 17.8})
    assert found.storage == pytest.approx(36_000 * 10_000)
    assert found.shards == 4
    assert found.first_open == pytest.approx(3.6)
    assert FIGURES.state_bytes == 12_000 + 2400 + 400
    assert found.resume == pytest.approx(0.036 + 14.8)


def test_what_was_measured_is_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    assert main(["--sizes", "tiny", "--measure", str(file), "--pairs", "1000", "2500000", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    figures = measured["figures"]
    assert all(figures[name] > 0 for name in figures if name != "state_error")
    assert figures["overhead"] > 1024  # three headers of 512 bytes and their padding
    assert [one["shards"] for one in measured["costs"]] == [1, 250]
    assert main(["--figures", str(file), "--pairs", "1000", "2500000", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == measured
    assert main(["--figures", str(file), "--pairs", "2500000"]) == 0
    said = capsys.readouterr().out
    assert "\n| 2,500,000 | 250 | " in said
    assert "Assumed, not measured: H100 does 989 TFLOP/s" in said
