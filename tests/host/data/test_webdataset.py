from __future__ import annotations

import contextlib
import json
import random
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmtk.data.readers.addresses import expand_braces
from mmtk.data.readers.webdataset import WebDatasetReader
from mmtk.errors import DataError, SampleError

from .samples import pair, picture, write_tar


def reasons(reader: WebDatasetReader) -> dict[str, str]:
    return {entry.key: entry.reason for entry in reader.quarantined}


def keys(reader: WebDatasetReader) -> list[str]:
    return [reader[index].key for index in range(len(reader))]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards, a-000000 and a-000001, of two samples each."""
    for shard in range(2):
        write_tar(tmp_path / f"a-{shard:06d}.tar", pair(f"s{shard}x") + pair(f"s{shard}y"))
    return tmp_path


@pytest.mark.parametrize(
    "pattern", ["", "a-*.tar", "a-{000000..000001}.tar", "a-00000{0,1}.tar", "a-00000[01].tar"]
)
def test_a_folder_and_patterns_name_shards(shards: Path, pattern: str) -> None:
    reader = WebDatasetReader(shards / pattern)
    assert keys(reader) == ["s0x", "s0y", "s1x", "s1y"]
    assert reader.quarantined == []


def test_lists_name_shards_in_their_order_and_each_once(shards: Path) -> None:
    reader = WebDatasetReader([shards / "a-000001.tar", shards])
    assert keys(reader) == ["s1x", "s1y", "s0x", "s0y"]


@pytest.mark.parametrize("pattern", ["b-000000.tar", "b-*.tar", "a-{000001..000002}.tar", "a-{0,1.tar"])
def test_a_path_that_names_nothing_is_told_apart(shards: Path, pattern: str) -> None:
    missing = "a-000002.tar" if ".." in pattern else pattern
    with pytest.raises(DataError) as caught:
        WebDatasetReader([shards, shards / pattern])
    assert missing in str(caught.value)


def test_a_folder_without_shards_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \*\.tar shards in the folder"):
        WebDatasetReader(tmp_path)


def test_expand_braces() -> None:
    assert expand_braces("x-{08..11}-{a,b}") == [
        f"x-{number}-{letter}" for number in ("08", "09", "10", "11") for letter in "ab"
    ]
    assert expand_braces("{8..10}") == ["8", "9", "10"]
    assert expand_braces("{x}{,y}") == ["{x}", "{x}y"]


def test_texts_image_id_and_source(tmp_path: Path) -> None:
    facts = {"image_id": 7, "source": "web", "caption": "not this one", "label": "secret"}
    json_only = {"caption": ["first", "second"]}
    write_tar(
        tmp_path / "a.tar",
        [
            *pair("full", b"eins\n\nzwei\n"),
            ("full.json", json.dumps(facts).encode()),
            *pair("bare", b"\xef\xbb\xbfone\r\n"),
            ("json.jpg", picture(format="JPEG")),
            ("json.json", json.dumps(json_only).encode()),
        ],
    )
    full, bare, listed = (WebDatasetReader(tmp_path)[index] for index in range(3))
    assert (full.texts, full.image_id, full.source) == (("eins", "zwei"), "7", "web")
    assert (bare.texts, bare.image_id, bare.source) == (("one",), "bare", "")
    assert listed.texts == ("first", "second")
    assert full.location == str(tmp_path / "a.tar")
    assert WebDatasetReader(tmp_path, source="human")[0].source == "human"


def test_a_null_in_the_json_is_as_if_it_were_missing(tmp_path: Path) -> None:
    facts = json.dumps({"image_id": None, "source": None}).encode()
    members = [*pair("a"), ("a.json", facts), *pair("b"), ("b.json", facts)]
    reader = WebDatasetReader(write_tar(tmp_path / "a.tar", members))
    assert [(reader[n].image_id, reader[n].source) for n in range(2)] == [("a", ""), ("b", "")]


def test_names_with_folders_upper_case_and_further_members(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "a.tar",
        [("./d/k.PNG", picture()), ("./d/k.seg.png", b"mask"), ("./d/k.TXT", b"text"), ("README", b"")],
    )
    reader = WebDatasetReader(tmp_path)
    assert keys(reader) == ["d/k"]
    assert reader[0].image == picture()


def test_names_that_are_not_utf_8_become_keys_that_files_can_hold(tmp_path: Path) -> None:
    members = [*pair("caf\udce9"), ("\udcff.png", picture())]
    reader = WebDatasetReader(write_tar(tmp_path / "a.tar", members))
    assert keys(reader) == [r"caf\xe9"]
    assert [entry.key for entry in reader.quarantined] == [r"\xff"]


def test_samples_that_lack_a_part_are_quarantined(tmp_path: Path) -> None:
    members = [*pair("good"), ("noimage.txt", b"text"), *pair("notext", None), *pair("last")]
    reader = WebDatasetReader(write_tar(tmp_path / "a.tar", members))
    assert keys(reader) == ["good", "last"]
    assert reasons(reader)["noimage"].startswith("no image: ")
    assert reasons(reader)["notext"].startswith("no text: ")
    assert {entry.location for entry in reader.quarantined} == {str(tmp_path / "a.tar")}


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (pair("k", b"caf\xe9"), "text is not UTF-8: byte 3"),
        ([*pair("k"), ("k.json", b"{bad")], "bad JSON"),
        ([*pair("k"), ("k.json", b"[1]")], "an object is expected, not list"),
        ([*pair("k", None), ("k.json", b"{}")], "no text: "),
        ([*pair("k", None), ("k.json", b'{"caption": 5}')], "bad caption"),
        ([*pair("k", None), ("k.json", rb'{"caption": "cat \ud83d"}')], "text is not Unicode"),
        ([*pair("k"), ("k.json", rb'{"image_id": "\udc00"}')], "text is not Unicode"),
    ],
)
def test_a_sample_whose_text_cannot_be_read_names_itself(
    tmp_path: Path, members: list[tuple[str, bytes]], reason: str
) -> None:
    reader = WebDatasetReader(write_tar(tmp_path / "a.tar", members + pair("next")))
    with pytest.raises(SampleError) as caught:
        reader[0]
    assert reason in caught.value.reason
    assert (caught.value.key, caught.value.location) == ("k", str(tmp_path / "a.tar"))
    assert reader[1].key == "next"


@pytest.mark.parametrize("text", [b"", b" \n\t\n"])
def test_an_image_with_a_blank_text_is_readable_for_captioning(tmp_path: Path, text: bytes) -> None:
    assert WebDatasetReader(write_tar(tmp_path / "a.tar", pair("k", text)))[0].texts == ("",)


def test_duplicate_keys_keep_the_first_and_name_its_shard(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", pair("k", b"first") + pair("k", b"again"))
    write_tar(tmp_path / "b.tar", pair("k", b"elsewhere") + pair("other"))
    reader = WebDatasetReader(tmp_path)
    assert keys(reader) == ["k", "other"]
    assert reader[0].texts == ("first",)
    assert [(Path(e.location).name, e.key, e.reason) for e in reader.quarantined] == [
        ("a.tar", "k", "duplicate key: it is in a.tar before"),
        ("b.tar", "k", "duplicate key: it is in a.tar before"),
    ]


def test_empty_shards_are_reported_and_cost_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "empty.tar").write_bytes(b"")
    (tmp_path / "html.tar").write_bytes(b"<html>not found</html>" * 100)
    write_tar(tmp_path / "nothing.tar", [])
    write_tar(tmp_path / "z.tar", pair("k"))
    reader = WebDatasetReader(tmp_path)
    assert keys(reader) == ["k"]
    assert reasons(reader) == {
        "empty.tar": "damaged shard: empty, or not an uncompressed tar file",
        "html.tar": "damaged shard: empty, or not an uncompressed tar file",
        "nothing.tar": "empty shard",
    }


def truncated(folder: Path, size: int) -> WebDatasetReader:
    whole = write_tar(folder / "whole.tar", pair("a") + pair("b") + pair("c"))
    (folder / "cut.tar").write_bytes(whole.read_bytes()[:size])
    return WebDatasetReader(folder / "cut.tar")


def padded(size: int) -> int:
    return 512 + -(-size // 512) * 512


IMAGE, TEXT = padded(len(picture())), padded(len(b"a text"))
SAMPLE = IMAGE + TEXT


def test_a_cut_image_costs_its_sample_only(tmp_path: Path) -> None:
    reader = truncated(tmp_path, SAMPLE + 512 + 100)
    assert keys(reader) == ["a"]
    reason = f"cut-off shard: it ends in the png, after 100 of {len(picture())} bytes"
    assert reasons(reader) == {"b": reason}


def test_a_cut_text_costs_its_sample_only(tmp_path: Path) -> None:
    reader = truncated(tmp_path, 2 * SAMPLE + IMAGE + 512 + 3)
    assert keys(reader) == ["a", "b"]
    assert reasons(reader) == {"c": "cut-off shard: it ends in the txt, after 3 of 6 bytes"}


def test_a_cut_between_the_members_of_a_sample(tmp_path: Path) -> None:
    reader = truncated(tmp_path, SAMPLE + IMAGE)
    assert keys(reader) == ["a"]
    assert reasons(reader)["b"] == "cut-off shard: it breaks off within this sample"
    assert reasons(reader)["cut.tar"] == "damaged shard: it breaks off behind 'b', without an end mark"


def test_a_cut_between_samples_says_that_more_may_have_followed(tmp_path: Path) -> None:
    reader = truncated(tmp_path, 2 * SAMPLE)
    assert keys(reader) == ["a", "b"]
    assert reasons(reader) == {"cut.tar": "damaged shard: it breaks off behind 'b', without an end mark"}


def test_damage_in_the_middle_keeps_what_is_before_and_the_other_shards(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", pair("a") + pair("b") + pair("c"))
    data = bytearray(whole.read_bytes())
    data[SAMPLE : SAMPLE + 512] = random.Random(0).randbytes(512)
    whole.write_bytes(bytes(data))
    write_tar(tmp_path / "b.tar", pair("d"))
    reader = WebDatasetReader(tmp_path)
    assert keys(reader) == ["a", "d"]
    assert reasons(reader) == {"a.tar": "damaged shard: it breaks off behind 'a', without an end mark"}


@pytest.mark.parametrize("size", [-512, -1024, -100_000])
@pytest.mark.parametrize("whole", [0, 1])
def test_a_negative_size_ends_the_shard(tmp_path: Path, whole: int, size: int) -> None:
    header = bytearray(tarfile.TarInfo("bad.png").tobuf())
    header[124:136] = b"\xff" + size.to_bytes(11, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    shard = write_tar(tmp_path / "a.tar", pair("a"))
    shard.write_bytes(shard.read_bytes()[: whole * SAMPLE] + bytes(header) + bytes(2048))
    reader = WebDatasetReader(shard)
    assert len(reader) == whole
    assert reasons(reader)["a.tar"].startswith("damaged shard: it breaks off")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cut=st.integers(0, 3 * SAMPLE + 1024),
    flips=st.lists(st.tuples(st.integers(0, 3 * SAMPLE), st.integers(1, 255)), max_size=4),
)
def test_no_damage_raises_anything_but_data_errors(
    tmp_path: Path, cut: int, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(write_tar(tmp_path / "whole.tar", pair("a") + pair("b") + pair("c")).read_bytes()[:cut])
    for place, change in flips:
        if place < len(data):
            data[place] ^= change
    (tmp_path / "cut.tar").write_bytes(bytes(data))
    reader = WebDatasetReader(tmp_path / "cut.tar")
    if cut < 3 * SAMPLE or not len(reader):
        assert reader.quarantined
    for index in range(len(reader)):
        with contextlib.suppress(SampleError):
            assert reader[index].key


def test_a_shard_that_vanishes_is_a_sample_error(tmp_path: Path) -> None:
    reader = WebDatasetReader(write_tar(tmp_path / "a.tar", pair("k")))
    (tmp_path / "a.tar").write_bytes(b"short")
    with pytest.raises(SampleError, match="cut-off shard"):
        reader[0]
    (tmp_path / "a.tar").unlink()
    with pytest.raises(SampleError, match="unreadable shard"):
        reader[0]


def test_threads_may_share_a_reader(tmp_path: Path) -> None:
    members = [member for n in range(50) for member in pair(f"k{n}", str(n).encode(), picture(seed=n))]
    reader = WebDatasetReader(write_tar(tmp_path / "a.tar", members))
    order = [index % 50 for index in range(400)]
    random.Random(0).shuffle(order)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(reader.__getitem__, order))
    assert [(s.texts, s.image) for s in read] == [((str(n),), picture(seed=n)) for n in order]
