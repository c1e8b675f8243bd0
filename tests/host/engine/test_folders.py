from __future__ import annotations

from pathlib import Path

import pytest

from mmtk.engine.folders import whole_folder


def test_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "deep" / "made") as partial:
        (partial / "file").write_text("content")
        assert not (tmp_path / "deep" / "made").exists()
    assert (tmp_path / "deep" / "made" / "file").read_text() == "content"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["made"]


def test_error_leaves_the_earlier_folder_alone(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "made") as partial:
        (partial / "file").write_text("old")
    with pytest.raises(OSError, match="disk full"), whole_folder(tmp_path / "made") as partial:
        (partial / "file").write_text("new")
        raise OSError("disk full")
    assert (tmp_path / "made" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_replaces_a_folder_and_clears_what_a_killed_try_left(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "old").write_text("old")
    (tmp_path / ".made.partial").mkdir()
    (tmp_path / ".made.partial" / "half").write_text("half")
    with whole_folder(tmp_path / "made") as partial:
        (partial / "new").write_text("new")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
