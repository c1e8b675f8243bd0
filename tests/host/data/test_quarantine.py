from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmtk.data.quarantine import Quarantine
from mmtk.types import Quarantined


def test_one_entry_per_location_and_key() -> None:
    quarantine = Quarantine([Quarantined("k", "first reason", "a.tar")])
    quarantine.add(Quarantined("k", "second reason", "a.tar"))
    quarantine.add(Quarantined("k", "elsewhere", "b.tar"))
    assert len(quarantine) == 2
    assert [entry.reason for entry in quarantine.entries] == ["first reason", "elsewhere"]


def test_counts_go_by_the_kind_of_reason() -> None:
    reasons = ["empty text", "image too small: 1x1", "image too small: 2x1", "bad JSON: line 1"]
    quarantine = Quarantine(Quarantined(str(n), reason) for n, reason in enumerate(reasons))
    assert list(quarantine.counts().items()) == [("image too small", 2), ("bad JSON", 1), ("empty text", 1)]


def test_written_lines_read_back_whatever_the_names(tmp_path: Path) -> None:
    entries = [
        Quarantined("ü", "empty text", "a.tar"),
        Quarantined("\udcff<b>", 'a "quoted"\nreason', "b.tar"),
    ]
    path = tmp_path / "quarantine.jsonl"
    path.write_text("old")
    Quarantine(reversed(entries)).write(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [Quarantined(**json.loads(line)) for line in lines] == entries
    assert list(tmp_path.iterdir()) == [path]


def test_entries_do_not_depend_on_the_order_of_threads() -> None:
    quarantine = Quarantine()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: quarantine.add(Quarantined(f"{n % 50:02d}", "x")), range(1000)))
    assert [entry.key for entry in quarantine.entries] == [f"{n:02d}" for n in range(50)]
