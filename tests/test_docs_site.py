"""The pages make a site without a warning, and the map of the modules shows the modules that there are."""

from __future__ import annotations

import importlib.util
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NEEDED = ("sphinx", "myst_parser", "furo")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
needs_sphinx = pytest.mark.skipif(bool(MISSING), reason=f"needs the extra docs: no {', '.join(MISSING)}")


def build(docs: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    return subprocess.run([*command, str(docs), str(site)], capture_output=True, text=True, check=False)


@needs_sphinx
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = build(DOCS, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    pages = {path.stem for path in DOCS.glob("*.md")}
    start = (tmp_path / "index.html").read_text("utf-8")
    assert pages - {name for name in pages if f'href="{name}.html"' in start} == {"index"}
    hrefs = re.findall(r'href="([^"#]+)', (tmp_path / "architecture.html").read_text("utf-8"))
    (copied,) = (href for href in set(hrefs) if href.endswith("test_layering.py"))
    assert (tmp_path / copied).read_bytes() == (ROOT / "tests" / "test_layering.py").read_bytes()


@needs_sphinx
def test_links_to_nothing_fail_the_build(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    conf = (DOCS / "conf.py").read_text("utf-8")
    (docs / "conf.py").write_text(re.sub(r"(?s)NAVIGATION = \{.*?\n\}", 'NAVIGATION = {"How to": []}', conf))
    (docs / "index.md").write_text(
        "# Start\n\n[A folder](../docs) and [a page](page.md#one-more).\n", "utf-8"
    )
    links = ("gone.md", "../tests/gone.py", "../gone", "index.md#gone")
    lines = [f"[link]({link})\n" for link in links]
    (docs / "page.md").write_text("\n".join(["# Page\n", "## One more\n", *lines]), "utf-8")
    done = build(docs, tmp_path / "site")
    assert done.returncode != 0
    assert re.findall(r"(index|page)\.md:(\d+): ", done.stderr) == [("page", f"{n}") for n in (5, 7, 9, 11)]


@pytest.fixture(scope="module")
def mapper() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "make_map.py"))


def test_the_map_of_the_modules_is_up_to_date(mapper: dict[str, Any]) -> None:
    message = "run: python docs/make_map.py"
    assert (DOCS / "modules.md").read_text("utf-8") == mapper["modules_page"](), message
    architecture = (DOCS / "architecture.md").read_text("utf-8")
    assert architecture == mapper["with_packages"](architecture), message


def test_every_module_says_what_it_does() -> None:
    text = (DOCS / "modules.md").read_text("utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    files = [path for folder in ("mmtk", "plugins") for path in (ROOT / folder).rglob("*.py")]
    assert len(rows) == len([path for path in files if path.name != "__init__.py"])
    assert [row[0] for row in rows if not row[1].strip()] == []


def test_the_map_shows_that_the_host_imports_no_plugin(mapper: dict[str, Any]) -> None:
    host = [package for package in mapper["packages"]() if package.is_relative_to(ROOT / "mmtk")]
    imported = [name for package in host for name in mapper["imported_packages"](package.glob("*.py"))]
    assert len(host) > 8
    assert {name.partition(".")[0] for name in imported} == {"mmtk"}
    blip = mapper["imported_packages"]((ROOT / "plugins" / "mmtk_albef").glob("*.py"))
    assert "mmtk_blip" in blip
    assert "mmtk" in blip


def test_pictures_of_the_docs_are_small_and_used() -> None:
    texts = "".join(path.read_text("utf-8") for path in (ROOT / "README.md", *DOCS.glob("*.md")))
    pictures = list((DOCS / "images").iterdir())
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size < 200_000
        assert f"images/{picture.name})" in texts
