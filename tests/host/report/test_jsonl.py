from pathlib import Path

import pytest

from mmtk.errors import DataError
from mmtk.report.jsonl import read_lines, read_object


def test_object(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text('{"a": 1}')
    assert read_object(path) == {"a": 1}


@pytest.mark.parametrize("text", ["", "[1]", '{"a": ', '{"a": 1}\n{"a": 2}'])
def test_something_else_names_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"metrics\.json: expected one JSON object"):
        read_object(path)


def test_missing_files_are_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read"):
        read_object(tmp_path / "absent.json")
    with pytest.raises(DataError, match="can't be read"):
        list(read_lines(tmp_path / "absent.jsonl"))


def test_lines_with_a_blank_and_a_cut_one(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n\n{"step": 2}\n{"ste')
    assert list(read_lines(path)) == [{"step": 1}, {"step": 2}]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"ste\n{"step": 3}\n')
    with pytest.raises(DataError, match=r"log\.jsonl:2: not JSON"):
        list(read_lines(path))
    path.write_text('{"step": 1}\n[2]\n')
    with pytest.raises(DataError, match=r"log\.jsonl:2: expected a JSON object, found list"):
        list(read_lines(path))
