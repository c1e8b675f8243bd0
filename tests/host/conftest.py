from __future__ import annotations

import os
from pathlib import Path

import pytest

PROBE = Path(__file__).parent / "probe"


@pytest.fixture
def probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Offer the plugin ``mmtk_probe`` to this process and its children; return the empty folder to run in."""
    info = tmp_path / "site" / "mmtk_probe-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mmtk-probe\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mmtk]\nprobe = mmtk_probe.plugin\n")
    places = [str(info.parent), str(PROBE)]
    for place in places:
        monkeypatch.syspath_prepend(place)
    inherited = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*places, *([inherited] if inherited else [])]))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
