"""Broken, empty, oversized and hostile shards among good ones, through ``mmtk run``."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mmtk_capfilt.ledger import read_ledger

from mmtk.data.readers.webdataset import WebDatasetReader
from tests.host.data.bombs import jpeg_of_many_scans, png
from tests.host.data.samples import write_tar
from tests.small_learner import picture
from tests.test_hostile_texts import BIDI, CAPTION, ESCAPES, assert_harmless

RECIPE = """
name: bad
device: cpu
stages:
  clean:
    use: capfilt
    data:
      reader: {use: webdataset, path: web, index: runs/indexes}
      image_transform: {use: blip_test, size: 8}
      batch_size: 4
      workers: 2
    steps:
      - {use: length_filter, min_words: 2}
      - {use: merge, human: {people: {use: webdataset, path: human, index: runs/indexes}}}
    part_size: 4
"""
LONG = "word " * 200_000
HOSTILE_KEY = f"key{ESCAPES}{BIDI}"
MEBIBYTE = 1 << 20


class Ran(NamedTuple):
    folder: Path
    code: int
    output: bytes
    before: dict[str, bytes]

    @property
    def stage(self) -> Path:
        return self.folder / "runs" / "bad" / "clean"


def pair(key: str, number: int, text: str = "") -> list[tuple[str, bytes]]:
    return [(f"{key}.png", picture(number)), (f"{key}.txt", (text or f"a good text {number}").encode())]


def member(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def write_huge_member(path: Path) -> None:
    """A picture of 257 MiB, all of them zeros, which take no room on most disks; and a good pair."""
    size = 257 * MEBIBYTE
    info = tarfile.TarInfo("huge-member.png")
    info.size = size
    with path.open("wb") as file:
        file.write(info.tobuf())
        file.seek(size, os.SEEK_CUR)
        write = io.BytesIO()
        with tarfile.open(fileobj=write, mode="w") as tar:
            for name, data in [("huge-member.txt", b"a huge one"), *pair("good-huge", 50)]:
                one = tarfile.TarInfo(name)
                one.size = len(data)
                tar.addfile(one, io.BytesIO(data))
        file.write(write.getvalue())


def write_hostile(path: Path) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member("link.png", tarfile.SYMTYPE, "../../secret.png"))
        tar.addfile(member("hard.png", tarfile.LNKTYPE, "good0.png"))
        tar.addfile(member("device.png", tarfile.CHRTYPE, ""))
        parts = [
            *pair("../outside", 60),
            *pair("/tmp/absolute", 61),
            *pair("a/../../b", 62),
            *pair(HOSTILE_KEY, 63, CAPTION),
            *pair("good-escapes", 64, f"two {ESCAPES} words"),
        ]
        for name, data in parts:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def files(folder: Path) -> dict[str, bytes]:
    """All files but the run's, which lie below ``runs``; of a very large one its first bytes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not name.startswith("work/runs/"):
            with path.open("rb") as file:
                found[name] = file.read(MEBIBYTE)
    return found


def mmtk(folder: Path, *overrides: str) -> tuple[int, bytes]:
    settings = {"OMP_NUM_THREADS": "1", "TERM": "xterm-256color", "TMPDIR": str(folder / "runs")}
    done = subprocess.run(
        [sys.executable, "-m", "mmtk", "run", "bad.yaml", *overrides],
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        timeout=200,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    top = tmp_path_factory.mktemp("bad")
    folder = top / "work"
    web = folder / "web"
    for name in (web, folder / "human", folder / "runs"):
        name.mkdir(parents=True)
    (top / "secret.png").write_bytes(picture(99))
    (folder / "bad.yaml").write_text(RECIPE)
    write_tar(web / "a-good.tar", [one for n in range(5) for one in pair(f"good{n}", n)])
    (web / "b-empty.tar").write_bytes(b"")
    write_tar(web / "c-without-members.tar", [])
    (web / "d-noise.tar").write_bytes(bytes(range(256)) * 40)
    lost = [*pair("lost", 21), *pair("lost2", 22)]
    broken = write_tar(web / "e-broken.tar", [*pair("good-broken", 20), *lost])
    data = bytearray(broken.read_bytes())
    data[data.index(b"lost.png") - 10 :] = b"\xff" * 3000
    broken.write_bytes(data)
    write_huge_member(web / "f-huge.tar")
    bombs = [("bomb.png", png(edge=50_000)), ("bomb.txt", b"a bomb")]
    bombs += [("scans.jpg", jpeg_of_many_scans(1900, 4000)), ("scans.txt", b"many scans")]
    bombs += [*pair("long", 30, LONG), *pair("longer", 31, LONG + "x" * MEBIBYTE), *pair("good-last", 32)]
    write_tar(web / "g-bombs.tar", bombs)
    write_hostile(web / "h-hostile.tar")
    write_tar(web / "i-good.tar", [one for n in range(70, 75) for one in pair(f"good{n}", n)])
    write_tar(folder / "human" / "human.tar", pair("people0", 80, "one"))
    before = files(top)
    return Ran(folder, *mmtk(folder), before)


def rows(ran: Ran) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_ledger(ran.stage / "ledger.parquet").to_pylist()
    return found


GOOD = {
    **{f"good{n}": n for n in (*range(5), *range(70, 75))},
    **{"good-broken": 20, "good-huge": 50, "good-last": 32},
}


def test_good_pairs_come_out_unharmed(ran: Ran) -> None:
    assert ran.code == 0, ran.output.decode()
    reader = WebDatasetReader(ran.stage / "dataset", index=ran.folder / "runs" / "read")
    assert reader.quarantined == []
    found = {one.key: one for one in (reader[index] for index in range(len(reader)))}
    for key, number in GOOD.items():
        one = found.pop(f"{key}-web")
        assert (one.image, one.texts, one.image_id) == (picture(number), (f"a good text {number}",), key)
    assert found.pop("people0-people").texts == ("one",)
    assert found.pop("good-escapes-web").texts == (" ".join(f"two {ESCAPES} words".split()),)
    (hostile,) = found.values()
    assert hostile.image == picture(63)


def test_the_accounts_balance(ran: Ran) -> None:
    ledger = rows(ran)
    counts = json.loads((ran.stage / "funnel.json").read_text("utf-8"))
    failed = [row for row in ledger if row["source"] == "image"]
    assert counts["failed_images"] == len(failed)
    assert counts["images"] == len({row["key"] for row in ledger if row["source"] != "image"}) + len(failed)
    fates = Counter((row["source"], row["decision"]) for row in ledger if row["source"] != "image")
    assert fates == {("web", "kept"): len(GOOD) + 2, ("web", "dropped"): 2, ("human", "kept"): 1}
    assert counts["written"] == counts["kept_web"] + counts["kept_human"] == len(GOOD) + 3
    long, line = sorted(
        (row for row in ledger if row["decision"] == "dropped"), key=lambda row: row["key"], reverse=True
    )
    assert (line["text"], line["reason"]) == ("\x9b31m", "1 word, fewer than 2")  # CAPTION has two lines
    assert (long["key"], long["step"], long["text"]) == ("long", "read", LONG)
    assert long["reason"] == f"text too long: {len(LONG)} characters, more than 10000"


def test_what_can_not_be_used_is_in_the_quarantine_with_its_reason(ran: Ran) -> None:
    text = (ran.stage / "quarantine.jsonl").read_text("utf-8")
    entries = [json.loads(line) for line in text.splitlines()]
    reasons = {
        (Path(one["location"]).name[0], one["key"]): one["reason"].partition(":")[0] for one in entries
    }
    assert len(reasons) == len(entries)
    shards = {place: reason for place, reason in reasons.items() if place[1].endswith(".tar")}
    assert shards == {
        ("b", "b-empty.tar"): "damaged shard", ("c", "c-without-members.tar"): "empty shard",
        ("d", "d-noise.tar"): "damaged shard", ("e", "e-broken.tar"): "damaged shard",
    }  # fmt: skip
    assert reasons["f", "huge-member"] == reasons["g", "longer"] == "too large a member"
    assert reasons["g", "bomb"] == reasons["g", "scans"] == "image too large"
    hostile = [reason for (shard, _), reason in reasons.items() if shard == "h"]
    assert hostile == ["refused member"] * len(hostile)
    assert len(hostile) == 6


def test_nothing_reaches_the_terminal_that_acts_on_it(ran: Ran) -> None:
    assert_harmless(ran.output)
    assert_harmless((ran.stage / "quarantine.jsonl").read_bytes())


def test_nothing_is_written_outside_of_the_runs_folder(ran: Ran) -> None:
    assert files(ran.folder.parent) == ran.before


def test_no_name_in_the_shards_leaves_their_folder(ran: Ran) -> None:
    for shard in (ran.stage / "dataset").glob("*.tar"):
        with tarfile.open(shard) as tar:
            for one in tar.getmembers():
                assert one.isfile()
                assert_harmless(one.name.encode())
                assert not one.name.startswith("/")
                assert ".." not in one.name.split("/")


def test_a_limit_that_is_passed_is_one_harmless_message(ran: Ran) -> None:
    code, output = mmtk(ran.folder, "run_dir=runs/limited", "stages.clean.data.max_quarantined=1")
    assert code == 2
    assert_harmless(output)
    errors = [line for line in output.decode().splitlines() if line.startswith("mmtk: ")]
    assert errors == [
        "mmtk: stage 'clean': 2 images failed, and data.max_quarantined is 1; "
        "the ledgers in the stage's folder parts say why"
    ]
