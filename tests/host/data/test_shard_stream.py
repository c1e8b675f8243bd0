from __future__ import annotations

import json
import tarfile
from pathlib import Path

import fsspec
import pytest

from mmtk.data.readers.shard_stream import iterate_shard
from mmtk.types import Quarantined, RawSample

from .samples import pair, picture, write_tar


def split(address: Path | str) -> tuple[list[RawSample], dict[str, str]]:
    entries = list(iterate_shard(str(address)))
    used = [entry for entry in entries if isinstance(entry, RawSample)]
    return used, {entry.key: entry.reason for entry in entries if isinstance(entry, Quarantined)}


def test_samples_come_in_order_with_their_parts(tmp_path: Path) -> None:
    facts = json.dumps({"image_id": 7, "source": "web", "caption": "not this one"}).encode()
    members = [*pair("b", b"eins\nzwei"), ("b.json", facts), ("README", b"x"), *pair("a", b"one")]
    (first, second), refused = split(write_tar(tmp_path / "s.tar", members))
    assert (first.key, first.texts, first.image_id, first.source) == ("b", ("eins", "zwei"), "7", "web")
    assert (second.key, second.image, second.location) == ("a", picture(), str(tmp_path / "s.tar"))
    assert refused == {}
    assert [one.source for one in iterate_shard(str(tmp_path / "s.tar"), "human")] == ["human"] * 2  # type: ignore[union-attr]


def test_what_cannot_be_used_comes_in_its_place(tmp_path: Path) -> None:
    members = [*pair("a"), ("lone.txt", b"x"), *pair("bad", b"\xff"), *pair("a"), *pair("z")]
    used, refused = split(write_tar(tmp_path / "s.tar", members))
    assert [sample.key for sample in used] == ["a", "z"]
    assert refused == {
        "lone": "no image: the sample has only txt",
        "bad": "text is not UTF-8: byte 0 of the txt",
        "a": "duplicate key: it is in s.tar before",
    }


def test_damage_ends_the_shard(tmp_path: Path) -> None:
    data = write_tar(tmp_path / "s.tar", pair("a") + pair("b")).read_bytes()
    place = data.index(b"b.png")
    (tmp_path / "cut.tar").write_bytes(data[: place + 600])
    (tmp_path / "broken.tar").write_bytes(data[:place] + bytes(9) + data[place + 9 :])
    (tmp_path / "page.tar").write_bytes(b"<html>" * 100)
    assert [sample.key for sample in split(tmp_path / "cut.tar")[0]] == ["a"]
    assert split(tmp_path / "cut.tar")[1]["b"].startswith("cut-off shard: it ends in the png, after 88 of")
    assert split(tmp_path / "broken.tar")[1] == {
        "broken.tar": "damaged shard: it breaks off behind 'a', without an end mark"
    }
    assert split(tmp_path / "page.tar")[1]["page.tar"].startswith("damaged shard: empty, or not")


def test_a_shard_that_cannot_be_opened_is_an_entry(tmp_path: Path) -> None:
    assert split(tmp_path / "gone.tar")[1] == {"gone.tar": "unreadable shard: No such file or directory"}
    assert split("memory://no/gone.tar")[1]["gone.tar"].startswith("unreadable shard: ")
    assert "nosuch" in split("nosuch://a/b.tar")[1]["b.tar"]


class Trickle:
    """A file of unknown length that can't seek and gives a little at a time, as a web server does."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __enter__(self) -> Trickle:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def read(self, size: int) -> bytes:
        part, self.data = self.data[: min(size, 700)], self.data[min(size, 700) :]
        return part


@pytest.mark.parametrize("cut", [None, 3000, 1536, 700])
def test_remote_shards_with_and_without_a_known_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int | None
) -> None:
    members = [("a.seg.npy", bytes(3000)), *pair("a"), *pair("b")]
    data = write_tar(tmp_path / "s.tar", members).read_bytes()[:cut]
    (tmp_path / "s.tar").write_bytes(data)
    fs = fsspec.filesystem("memory")
    fs.pipe("/streams/s.tar", data)
    used, refused = split(tmp_path / "s.tar")
    assert [sample.key for sample in used] == (["a", "b"] if cut is None else [])
    assert [sample.key for sample in split("memory://streams/s.tar")[0]] == [sample.key for sample in used]
    assert split("memory://streams/s.tar")[1] == refused
    monkeypatch.setattr(type(fs), "open", lambda *_a, **_k: Trickle(data))
    again, refused_again = split("memory://streams/s.tar")
    assert [sample.image for sample in again] == [sample.image for sample in used]
    assert refused_again.keys() == refused.keys() or cut is not None


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("k.png", tarfile.SYMTYPE, "a symbolic link"),
        ("k.png", tarfile.LNKTYPE, "a hard link"),
        ("k.png", tarfile.CHRTYPE, "a device"),
        ("k.png", tarfile.FIFOTYPE, "a pipe"),
        ("/etc/k.png", tarfile.REGTYPE, "its name is an absolute path"),
        ("a/../../k.png", tarfile.REGTYPE, "its name has '..'"),
    ],
)
def test_members_that_lead_elsewhere_are_refused(tmp_path: Path, name: str, kind: bytes, why: str) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.addfile(special(name, kind, "/etc/passwd"))
        tar.addfile(special("fine", tarfile.DIRTYPE))
    with tarfile.open(tmp_path / "s.tar", "a") as tar:
        tar.add(write_tar(tmp_path / "x.tar", []), "fine.txt")
    used, refused = split(tmp_path / "s.tar")
    assert used == []
    assert refused.pop("fine") == "no image: the sample has only txt"
    (reason,) = refused.values()
    assert reason == f"refused member: {name}: {why}"


def test_keys_never_carry_control_characters(tmp_path: Path) -> None:
    used, _ = split(write_tar(tmp_path / "s.tar", pair("a\x1b[2J\x07b\u202e")))
    assert [sample.key for sample in used] == [r"a\x1b[2J\x07b\u202e"]
