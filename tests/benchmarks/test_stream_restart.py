from __future__ import annotations

import json

import pytest

from benchmarks import stream_restart


def test_it_measures_every_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stream_restart, "SETTINGS", ((10, 4), (10, 30), (20, 4)))
    arguments = ["--total", "60", "--size", "100", "--repeats", "1"]
    stream_restart.main([*arguments, "--json"])
    costs = json.loads(capsys.readouterr().out)["costs"]
    assert [(cost["per_shard"], cost["buffer"]) for cost in costs] == [(10, 4), (10, 30), (20, 4)]
    # At least the buffer is read again, and at most what was read before.
    assert all(cost["buffer"] <= cost["read_again"] <= 31 + cost["buffer"] for cost in costs)
    stream_restart.main(arguments)
    assert len(capsys.readouterr().out.splitlines()) == 2 + 3
