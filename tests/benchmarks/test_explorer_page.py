"""The benchmark of the explorer in a small form: what it prints, not how fast it is."""

from __future__ import annotations

import pytest

from benchmarks.explorer_page import main


def test_it_tells_cost_and_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--images", "3"]) == 0
    made, page, beside, command = capsys.readouterr().out.splitlines()
    assert made.startswith("3 pictures: ")
    assert float(page.split()[1]) > 0
    assert beside == "beside it: 0 files, 0.0 MB"
    assert command == "python -m benchmarks.explorer_page --images 3"
