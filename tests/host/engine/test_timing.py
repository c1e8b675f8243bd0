from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtk.engine.timing import rows, table, write_timing

SECONDS = {
    "rest": 1.0,
    "backward": 4.0,
    "somebody's own": 0.25,
    "forward/itc": 0.5,
    "forward/shared image encoder": 2.0,
    "data wait": 0.25,
}


def test_rows_are_in_a_steps_order_with_the_wait_for_data_first() -> None:
    assert [row.name for row in rows(SECONDS)] == [
        "data wait",
        "forward/shared image encoder",
        "forward/itc",
        "backward",
        "somebody's own",
        "rest",
    ]
    assert [row.share for row in rows(SECONDS)] == pytest.approx(
        [1 / 32, 1 / 4, 1 / 16, 1 / 2, 1 / 32, 1 / 8]
    )


def test_table() -> None:
    head, *lines = table({"steps": 4, "seconds": SECONDS})
    assert head == "time by section, 2,000.0 ms a step over 4 steps:"
    assert table({"steps": 1, "seconds": SECONDS})[0].endswith(" a step over 1 step:")
    assert re.fullmatch(r"  data wait +3\.[12] % +62\.50 ms", lines[0])
    assert re.fullmatch(r"  backward +50\.0 % +1,000\.00 ms", lines[3])


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20).filter(any))
def test_percentages_add_up_to_100(seconds: list[float]) -> None:
    lines = table({"steps": 1, "seconds": {f"part {index}": value for index, value in enumerate(seconds)}})
    tenths = [round(10 * float(line.split()[2])) for line in lines[1:]]
    assert sum(tenths) == 1000


def test_json(tmp_path: Path) -> None:
    write_timing(tmp_path, {"steps": 4, "seconds": SECONDS})
    report = json.loads((tmp_path / "timing.json").read_text())
    assert (report["steps"], report["seconds"]) == (4, 8.0)
    assert report["sections"][0] == {
        "name": "data wait",
        "seconds": 0.25,
        "seconds_per_step": 0.0625,
        "share": 0.03125,
    }
    assert sum(section["share"] for section in report["sections"]) == pytest.approx(1)


def test_a_stage_without_a_step(tmp_path: Path) -> None:
    write_timing(tmp_path, {"steps": 0, "seconds": {}})
    assert json.loads((tmp_path / "timing.json").read_text())["sections"] == []
    assert len(table({"steps": 0, "seconds": {}})) == 1
