from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mmtk.data.quarantine import Quarantine, Refusals
from mmtk.errors import DataError
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


def test_a_followed_file_has_each_entry_at_once_and_only_what_is_known(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.jsonl"
    path.write_text('{"key": "of a try before", "reason": "x", "location": ""}\n')
    quarantine = Quarantine([Quarantined("b", "x")])
    quarantine.follow(path)

    def listed() -> list[str]:
        return [json.loads(line)["key"] for line in path.read_text("utf-8").splitlines()]

    assert listed() == ["b"]
    for key in ("c", "a", "c"):
        quarantine.add(Quarantined(key, "x"))
    assert listed() == ["b", "c", "a"]
    quarantine.write(path)
    assert listed() == ["a", "b", "c"]


def refused(limit: float | None, count: int, known: int, tried: int) -> Refusals:
    refusals = Refusals(Quarantine(Quarantined(f"known{n}", "x") for n in range(known)), limit)
    for _ in range(tried):
        refusals.count_try()
    for n in range(count):
        reason = "no text: neither a txt nor a json" if n % 3 else "empty text"
        refusals.add(Quarantined(f"k{n:03d}", reason, "a.tar"))
    return refusals


@pytest.mark.parametrize(
    ("limit", "count", "known", "tried"),
    [
        (None, 500, 0, 500),
        (3, 3, 0, 3),
        (3, 1, 2, 3),
        (0, 0, 0, 10),
        (0.1, 99, 0, 99),  # too few tries to say anything
        (0.1, 10, 0, 100),
        (0.1, 10, 500, 100),  # another process tried those that are known
    ],
)
def test_within_the_limit(limit: float | None, count: int, known: int, tried: int) -> None:
    refused(limit, count, known, tried).check()


@pytest.mark.parametrize(
    ("limit", "count", "known", "tried", "amount"),
    [
        (3, 4, 0, 4, "4 samples can't be used, and max_quarantined is 3: empty text 2, no text 2"),
        (3, 1, 3, 4, "4 samples"),
        (0, 1, 0, 10, "1 sample can't be used, and max_quarantined is 0: empty text 1"),
        (0.1, 11, 0, 100, "11 of 100 samples can't be used, and max_quarantined is 0.1: no text 7, empty"),
        (0.001, 1, 0, 999, "1 of 999 samples can't be used, and max_quarantined is 0.001"),
    ],
)
def test_past_the_limit(limit: float, count: int, known: int, tried: int, amount: str) -> None:
    with pytest.raises(DataError) as caught:
        refused(limit, count, known, tried).check()
    message, *listed = str(caught.value).splitlines()
    assert message.startswith(amount)
    if not known and count > 2:
        assert listed == [
            "  a.tar: k000: empty text",
            "  a.tar: k001: no text: neither a txt nor a json",
            "  a.tar: k002: no text: neither a txt nor a json",
        ]


def test_long_names_do_not_flood_a_terminal() -> None:
    refusals = Refusals(Quarantine(), 0)
    with pytest.raises(DataError) as caught:
        refusals.add(Quarantined("k" * 5000, "x" * 3000, "l" * 2000))
    assert len(str(caught.value)) < 1200
    for one, count in (("k", "5,000"), ("x", "3,000"), ("l", "2,000")):
        assert f"{one * 200}… ({count} characters)" in str(caught.value)


def test_threads_add_one_entry_past_the_limit() -> None:
    refusals = Refusals(Quarantine(), 3)

    def add(number: int) -> bool:
        try:
            refusals.add(Quarantined(str(number), "x"))
        except DataError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(add, range(500))) == 3
    assert len(refusals.quarantine) == 4
