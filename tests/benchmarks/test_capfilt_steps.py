"""The benchmark of the steps in a small form: what it prints, and that it tells copies from others."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from benchmarks.capfilt_steps import DISTANCES, THRESHOLDS, main


@pytest.mark.skipif(find_spec("py3langid") is None, reason="py3langid, of mmtk[language], isn't installed")
def test_the_tables_tell_what_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--pictures", "6", "--codes", "500"]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    shares = {row[0]: [float(cell.strip("%")) for cell in row[1:]] for row in cells if "%" in row[-1]}
    assert [row[1:] for row in cells if row[0] in ("`distance`", "`threshold`")] == [
        [str(one) for one in DISTANCES],
        [str(one) for one in THRESHOLDS],
    ]
    assert shares["textures, JPEG of quality 50"][DISTANCES.index(4)] == 100
    assert shares["textures, all different: left out"] == [0] * len(DISTANCES)
    assert all(row == sorted(row) for row in shares.values())
    long_english, long_german = (
        next(row for name, row in shares.items() if name.startswith(f"{language}, more"))
        for language in ("English", "German")
    )
    assert max(long_english) < 20 < 60 < min(long_german)
    assert "500 different pictures" in lines[-2]
    assert lines[-1] == "`python -m benchmarks.capfilt_steps --pictures 6 --codes 500`"
