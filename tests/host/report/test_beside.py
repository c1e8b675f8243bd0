from collections.abc import Iterator
from pathlib import Path

import pytest

from mmtk.report.beside import write_files
from mmtk.stages.reports import copy_report


class Section:
    title = "One"

    def html(self) -> str:
        return ""


class Wide(Section):
    def __init__(self, *names: str) -> None:
        self.names = names

    def files(self) -> Iterator[tuple[str, bytes]]:
        for name in self.names:
            yield name, f"content of {name}".encode()


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_each_section_has_its_own_folder(tmp_path: Path) -> None:
    addresses = write_files(
        tmp_path, "report", {"a": Wide("1.js", "2.js"), "b": Section(), "c": Wide(), "d": Wide("1.js")}
    )
    assert addresses == {"a": "report_files/report/a/", "d": "report_files/report/d/"}
    assert files_below(tmp_path) == [
        f"report_files/report/{name}" for name in ("a/1.js", "a/2.js", "d/1.js")
    ]  # fmt: skip
    assert (tmp_path / addresses["a"] / "2.js").read_text() == "content of 2.js"


def test_files_of_an_earlier_try_are_gone(tmp_path: Path) -> None:
    write_files(tmp_path, "report", {"a": Wide("1.js", "2.js")})
    write_files(tmp_path, "report", {"a": Wide("1.js")})
    assert files_below(tmp_path) == ["report_files/report/a/1.js"]


@pytest.mark.parametrize("name", ["../page.js", "/etc/x", "a b", "", ".hidden"])
def test_a_name_can_not_lead_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(AssertionError, match="can't be named"):
        write_files(tmp_path, "report", {"a": Wide(name)})


def report_of(run: Path, stage: str, *names: str) -> Path:
    folder = run / stage
    folder.mkdir(parents=True, exist_ok=True)
    write_files(folder, stage, {"a": Wide(*names)})
    report = folder / "report.html"
    report.write_text(f"page of {stage}")
    return report


def test_the_run_s_copies_of_two_reports_keep_their_files_apart(tmp_path: Path) -> None:
    copy_report(report_of(tmp_path, "first", "1.js"), tmp_path / "first-report.html")
    copy_report(report_of(tmp_path, "second", "1.js"), tmp_path / "second-report.html")
    assert (tmp_path / "first-report.html").read_text() == "page of first"
    assert files_below(tmp_path / "report_files") == ["first/a/1.js", "second/a/1.js"]


def test_a_copy_that_is_made_again_has_the_new_files_alone(tmp_path: Path) -> None:
    copy_report(report_of(tmp_path, "report", "1.js", "2.js"), tmp_path / "report.html")
    copy_report(report_of(tmp_path, "report", "1.js"), tmp_path / "report.html")
    assert files_below(tmp_path / "report_files") == ["report/a/1.js"]


def test_a_report_that_needs_no_files_any_more_leaves_none(tmp_path: Path) -> None:
    copy_report(report_of(tmp_path, "report", "1.js"), tmp_path / "report.html")
    copy_report(report_of(tmp_path, "report"), tmp_path / "report.html")
    assert files_below(tmp_path) == ["report.html", "report/report.html"]


def test_disks_without_links_get_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    copy_report(report_of(tmp_path, "report", "1.js"), tmp_path / "report.html")
    assert (tmp_path / "report_files/report/a/1.js").read_text() == "content of 1.js"


def test_a_page_alone_brings_no_folder(tmp_path: Path) -> None:
    copy_report(report_of(tmp_path, "report"), tmp_path / "report.html")
    assert not (tmp_path / "report_files").exists()
