from __future__ import annotations

import io
import tarfile
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.data.readers.tar_headers import BrokenOffError, CutOffError, Member, NotATarError, Tape, members
from mmtk.data.readers.tar_samples import groups


def scan(data: bytes) -> list[Member]:
    return list(members(Tape(io.BytesIO(data), len(data))))


def archive(files: list[tuple[str, bytes]], format: int, **pax: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(data), dict(pax)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


NAMES = st.text("abä/x", min_size=1, max_size=180).map(lambda text: f"k{text.replace('//', '/')}k.txt")


@settings(max_examples=60, deadline=None)
@given(
    files=st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=6),
    format=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_names_and_places_are_those_of_tarfile(files: list[tuple[str, bytes]], format: int) -> None:
    data = archive(files, format)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        wanted = [(info.name, info.offset_data, info.size) for info in tar]
    found = [(f"{one.key}.{one.extension}", one.offset, one.size) for one in scan(data)]
    assert found == wanted
    assert [data[one.offset : one.offset + one.size] for one in scan(data)] == [data for _, data in files]


def test_ustar_prefixes_and_large_numbers() -> None:
    name = "f" * 90 + "/" + "k" * 90 + ".txt"
    assert scan(archive([(name, b"x")], tarfile.USTAR_FORMAT))[0].key == name.removesuffix(".txt")
    info = tarfile.TarInfo("big.png")
    info.size = 9 << 30  # more than eleven octal digits hold
    header = info.tobuf(tarfile.GNU_FORMAT)
    assert next(members(Tape(io.BytesIO(header), 10 << 30))).size == 9 << 30
    header = info.tobuf(tarfile.PAX_FORMAT)
    assert next(members(Tape(io.BytesIO(header), 10 << 30))).size == 9 << 30


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
def test_an_extended_header_of_any_size_takes_no_memory(kind: bytes) -> None:
    header = tarfile.TarInfo("./PaxHeaders/k.png")
    header.type, header.size = kind, 64 << 20
    data = (
        header.tobuf() + bytes(64 << 20) + archive([("k.png", b"x"), ("l.png", b"x")], tarfile.USTAR_FORMAT)
    )
    tracemalloc.start()
    first, second = scan(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert first.refusal == "refused member: k.png: its extended header has 67108864 bytes"
    assert (second.key, second.refusal) == ("l", "")
    assert peak < 4 << 20


def test_a_size_that_lies_takes_no_memory_without_a_known_length() -> None:
    info = tarfile.TarInfo("k.png")
    info.size = 200 << 20
    file = io.BytesIO(info.tobuf() + b"x" * 100)
    tracemalloc.start()
    (group,) = groups(Tape(file, None), "s.tar", load=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert group.refusal == f"cut-off shard: it ends in the png, after 100 of {200 << 20} bytes"
    assert peak < 4 << 20


def test_sizes_over_the_limits_are_refused() -> None:
    files = [("a.png", b"x"), ("a.txt", bytes((1 << 20) + 1)), ("b.png", b"x"), ("b.txt", b"fine")]
    tape = Tape(io.BytesIO(archive(files, tarfile.PAX_FORMAT)), None)
    first, second = groups(tape, "s.tar", load=True)
    assert first.refusal == "too large a member: the txt has 1048577 bytes, the limit is 1048576"
    assert second.data == {"png": b"x", "txt": b"fine"}
    image = tarfile.TarInfo("k.png")
    image.size = (256 << 20) + 1
    (huge, _) = groups(Tape(io.BytesIO(image.tobuf()), 1 << 30), "s.tar", load=False)
    assert huge.refusal.startswith("too large a member: the png has 268435457 bytes")


def test_members_of_one_key_without_end_are_refused() -> None:
    files = [(f"k.x{number}", b"") for number in range(1200)]
    (group,) = groups(Tape(io.BytesIO(archive(files, tarfile.USTAR_FORMAT)), None), "s.tar", load=False)
    assert group.refusal == "too many members: more than 1000"
    assert len(group.members) == 1000


def test_names_beyond_what_systems_take_are_refused() -> None:
    (member,) = scan(archive([("k" * 5000 + ".png", b"x")], tarfile.PAX_FORMAT))
    assert member.refusal.endswith(": its name has 5004 bytes")
    assert len(member.key) == 4096


def test_damage_has_a_kind() -> None:
    data = archive([("k.png", bytes(2000))], tarfile.USTAR_FORMAT)
    for content, error in (
        (b"", NotATarError),
        (data[:300], NotATarError),
        (b"x" * 1024, NotATarError),
        (data[:1000], CutOffError),
        (data[: 512 + 2048], BrokenOffError),
        (data[: 512 + 2048] + b"y" * 512, BrokenOffError),
    ):
        with pytest.raises(error):
            scan(content)
    assert scan(bytes(512)) == []


@pytest.mark.parametrize("record", [b"7 path", b"99 path=x\n", b"x path=x\n", b"12 size=-9\n\n", b"4 a\n"])
def test_bad_pax_records_are_damage(record: bytes) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(record)
    with pytest.raises(BrokenOffError):
        scan(archive([("a.png", b"")], tarfile.USTAR_FORMAT)[:512] + info.tobuf() + record.ljust(512, b"\0"))


def test_sparse_files_are_refused() -> None:
    data = archive([("k.png", b"x")], tarfile.PAX_FORMAT, **{"GNU.sparse.major": "1"})
    assert scan(data)[0].refusal == "refused member: k.png: a sparse file"
