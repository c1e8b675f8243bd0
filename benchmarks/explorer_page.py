"""What a report with an explorer of many pictures costs: to make, on the disk, and in a browser.

The pictures are JPEGs from a shard, used over and over; each has a web text and a caption, of random words
and with random scores.
"""

from __future__ import annotations

import argparse
import random
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from mmtk_capfilt.decisions import DROPPED
from mmtk_capfilt.ledger import ITC, ITM, LedgerRow, schema, to_table
from mmtk_capfilt.report.explorer import ExplorerSection

from benchmarks.arguments import positive
from benchmarks.data_pipeline import write_shard
from mmtk.api import RawSample
from mmtk.data.readers.webdataset import WebDatasetReader
from mmtk.report.beside import write_files
from mmtk.report.page import Making, anchored, render_page

WIDTH, HEIGHT = 640, 480
DIFFERENT = 50  # pictures in the shard
THRESHOLD = 0.5
WORDS = 9
QUERIES = ("a", "al", "alp", "alph", "")
# Milliseconds until the page shows what each query finds.
SEARCH = """(queries) => queries.map((query) => {
  const box = document.querySelector("[data-part=query]");
  const start = performance.now();
  box.value = query;
  box.dispatchEvent(new Event("input"));
  document.body.getBoundingClientRect();
  return performance.now() - start;
})"""


class Repeated:
    """A reader, and a blueprint of itself, that takes its pictures from another one in turn."""

    def __init__(self, reader: WebDatasetReader, images: int) -> None:
        self.quarantined = reader.quarantined
        self._images = [reader[index].image for index in range(len(reader))]
        self._number = images

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, index: int) -> RawSample:
        return RawSample(key_of(index), self._images[index % len(self._images)], (), key_of(index))

    def build(self, **_: Any) -> Repeated:
        return self


def key_of(index: int) -> str:
    return f"{index:08d}"


def write_ledger(path: Path, images: int) -> None:
    """Write a ledger of two texts for each image."""
    draw = random.Random(0)
    words = ["".join(draw.choices("aehilnoprst", k=6)) for _ in range(3000)]
    rows = []
    for index in range(images):
        for source in ("web", "synthetic"):
            score = draw.random()
            row = LedgerRow(
                "shard.tar", key_of(index), key_of(index), source, " ".join(draw.choices(words, k=WORDS)),
                scored_by="itm_filter:0123456789ab", scores={ITM: score, ITC: score / 2},
            )  # fmt: skip
            if score < THRESHOLD:
                reason = f"{ITM} below {THRESHOLD:g}"
                row = replace(row, decision=DROPPED, step="itm_filter", reason=reason)
            rows.append(row)
    pq.write_table(to_table(rows, schema((), ())), path)


def write_page(folder: Path, images: int) -> float:
    """Write the page and its files; return the processor's seconds."""
    write_shard(folder / "shard.tar", min(images, DIFFERENT), WIDTH, HEIGHT)
    reader: Any = Repeated(WebDatasetReader(folder / "shard.tar"), images)
    write_ledger(folder / "ledger.parquet", images)
    start = time.process_time()
    section = ExplorerSection(
        ledger=folder / "ledger.parquet",
        images=[reader],
        truth=None,
        extras=None,
        limit=images,
        title="Explorer",
    )
    sections = anchored([section])
    files = write_files(folder / "report", "report", sections)
    page = render_page("Explorer", "", sections, Making({}, []), files)
    (folder / "report").mkdir(exist_ok=True)
    (folder / "report" / "report.html").write_text(page, encoding="utf-8")
    return time.process_time() - start


def browse(page: Path, browser: str) -> tuple[float, list[float]]:
    """Return the seconds until the first picture is there, and milliseconds of each search."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = started.new_page()
        start = time.perf_counter()
        tab.goto(page.as_uri())
        tab.locator(".x-card img").first.wait_for(state="attached", timeout=120_000)
        opened = time.perf_counter() - start
        times = tab.evaluate(SEARCH, QUERIES)
        started.close()
    return opened, times


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explorer_page", description=__doc__)
    parser.add_argument("--images", type=positive, default=4000)
    parser.add_argument("--browser", help="path of a Chromium, to time the page in it")
    return parser


def main(argv: Sequence[str]) -> int:
    options = build_parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = write_page(folder, options.images)
        report = folder / "report"
        sizes = [path.stat().st_size for path in report.rglob("*.js")]
        print(f"{options.images:,} pictures: {1000 * seconds / options.images:.1f} ms of a core for each")
        print(f"page: {(report / 'report.html').stat().st_size / 1e6:.1f} MB")
        print(f"beside it: {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB")
        if options.browser:
            opened, times = browse(report / "report.html", options.browser)
            print(f"first picture after {opened:.1f} s")
            print(f"a search: {statistics.median(times):.0f} ms, at most {max(times):.0f} ms")
    print(shlex.join(["python", "-m", "benchmarks.explorer_page", *argv]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
