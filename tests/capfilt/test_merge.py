from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmtk_capfilt.configs import MergeConfig
from mmtk_capfilt.ledger import LedgerRow, image_row, to_table
from mmtk_capfilt.merge import MergeStage, check_accounts
from mmtk_capfilt.parts import in_parts

from mmtk.data.readers.webdataset import WebDatasetReader
from mmtk.errors import DataError, SampleError, StageError
from mmtk.types import Quarantined, RawSample
from tests.small_learner import Built, ListReader, picture, sample, stage_context


def row(key: str, source: str, text: str, *, kept: bool = True) -> LedgerRow:
    reason = "" if kept else "itm_probability below 0.5"
    return LedgerRow(key, f"image of {key}", source, text, 0.9 if kept else 0.1, 0.2, kept, reason)


def run(
    folder: Path,
    rows: list[LedgerRow],
    reader: ListReader,
    human: dict[str, ListReader] | None = None,
    samples_per_shard: int = 100,
) -> dict[str, int]:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(to_table(rows), folder / "ledger.parquet")
    stage = MergeStage(
        ledger=folder / "ledger.parquet",
        reader=Built(reader),
        human={name: Built(own) for name, own in (human or {}).items()},
        samples_per_shard=samples_per_shard,
    )
    stage.run(stage_context(folder / "stage"))
    counts: dict[str, int] = json.loads((folder / "stage" / "funnel.json").read_text("utf-8"))
    return counts


def read_back(folder: Path) -> list[RawSample]:
    reader = WebDatasetReader(folder / "stage" / "dataset")
    return [reader[index] for index in range(len(reader))]


def test_kept_texts_and_human_pairs_are_read_back_as_they_were(tmp_path: Path) -> None:
    web = ListReader([sample(n, f"web {n}", image_id=f"image {n}") for n in range(3)])
    rows = [
        row("k0", "web", "Web, 0!"),
        row("k0", "synthetic", "été 0"),
        row("k1", "web", "web 1", kept=False),
        row("k1", "synthetic", "synthetic 1"),
        row("k2", "web", "web 2", kept=False),
        row("k2", "synthetic", "synthetic 2", kept=False),
    ]
    human = ListReader([sample(7, "one text", "another", key="h7", image_id="image 7", source="coco")])
    counts = run(tmp_path, rows, web, {"annotated": human})
    found = {raw.key: (raw.image, raw.texts, raw.image_id, raw.source) for raw in read_back(tmp_path)}
    assert found == {
        "k0-web": (picture(0), ("Web, 0!",), "image 0", "web"),
        "k0-syn": (picture(0), ("été 0",), "image 0", "synthetic"),
        "k1-syn": (picture(1), ("synthetic 1",), "image 1", "synthetic"),
        "h7-annotated": (picture(7), ("one text", "another"), "image 7", "human"),
    }
    assert counts == {
        "images": 3,
        "captioned": 3,
        "candidates": 6,
        "kept_web": 1,
        "kept_synthetic": 2,
        "dropped_web": 2,
        "dropped_synthetic": 1,
        "quarantined": 0,
        "human": 1,
        "unusable": 0,
        "written": 4,
    }
    assert (tmp_path / "stage" / "quarantine.jsonl").read_text() == ""


def test_several_kept_web_texts_of_an_image_are_samples_of_their_own(tmp_path: Path) -> None:
    rows = [row("k0", "web", "one"), row("k0", "web", "two"), row("k0", "web", "three", kept=False)]
    run(tmp_path, rows, ListReader([sample(0, "one", "two", "three")]))
    assert {raw.key: raw.texts for raw in read_back(tmp_path)} == {"k0-web": ("one",), "k0-web-2": ("two",)}


def test_the_same_ledger_gives_the_same_bytes_over_what_a_killed_try_left(tmp_path: Path) -> None:
    rows = [row(f"k{n}", "web", f"text {n}") for n in range(5)]
    samples = [sample(n) for n in range(5)]
    run(tmp_path / "whole", rows, ListReader(samples), samples_per_shard=2)

    class Killed(ListReader):
        def __getitem__(self, index: int) -> RawSample:
            if index == 3:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "torn", rows, Killed(samples), samples_per_shard=2)
    assert not (tmp_path / "torn" / "stage" / "funnel.json").exists()
    run(tmp_path / "torn", rows, ListReader(samples), samples_per_shard=2)
    whole, torn = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "stage" / "dataset").iterdir()}
        for name in ("whole", "torn")
    )
    assert sorted(whole) == [f"bootstrapped-00000{n}.tar" for n in range(3)]
    assert whole == torn


def test_a_reader_of_other_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"about 1 images, but the reader has 2"):
        run(tmp_path, [row("k0", "web", "a")], ListReader([sample(0), sample(1)]))
    with pytest.raises(StageError, match=r"lacks 1 images that have kept texts, such as 'k0'"):
        run(tmp_path, [row("k0", "web", "a")], ListReader([sample(1)]))


def test_images_that_the_filter_could_not_read_are_counted_and_left_out(tmp_path: Path) -> None:
    rows = [
        row("k0", "web", "a"),
        image_row(Quarantined("k1", "torn")),
        image_row(Quarantined("k9", "no text")),
    ]
    reader = ListReader([sample(0), DataError("torn")], (Quarantined("k9", "no text"),))
    counts = run(tmp_path, rows, reader)
    assert (counts["images"], counts["quarantined"], counts["written"]) == (3, 2, 1)


def test_human_samples_that_can_not_be_used_are_quarantined(tmp_path: Path) -> None:
    human = ListReader(
        [
            sample(1, key="good"),
            DataError("torn page"),
            SampleError("empty text", "named", "shard 3"),
            RawSample("odd", b"no image", ("a",), "odd"),
            sample(1, key="good"),
        ],
        (Quarantined("refused", "no image", "shard 4"),),
    )
    counts = run(tmp_path, [row("k0", "web", "a")], ListReader([sample(0)]), {"coco": human})
    assert (counts["human"], counts["unusable"], counts["written"]) == (6, 5, 2)
    lines = (tmp_path / "stage" / "quarantine.jsonl").read_text("utf-8").splitlines()
    reasons = {entry["key"]: entry["reason"] for entry in map(json.loads, lines)}
    assert set(reasons) == {"coco[1]", "named", "odd-coco", "good-coco", "refused"}
    assert reasons["coco[1]"] == "torn page"
    assert reasons["named"] == "empty text"
    assert "two samples" in reasons["good-coco"]


def test_a_web_image_that_no_shard_can_take_is_counted(tmp_path: Path) -> None:
    odd = RawSample("k0", b"odd image", ("a",), "k0", "web", "memory")
    counts = run(tmp_path, [row("k0", "web", "a"), row("k0", "synthetic", "b")], ListReader([odd]))
    assert (counts["kept_web"], counts["kept_synthetic"], counts["unusable"], counts["written"]) == (
        1,
        1,
        2,
        0,
    )


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=8),
    st.integers(0, 4),
)
def test_the_accounts_are_exact(
    tmp_path_factory: pytest.TempPathFactory, images: list[tuple[bool, bool, bool]], human: int
) -> None:
    rows = []
    samples: list[RawSample | DataError] = []
    for n, (readable, web, synthetic) in enumerate(images):
        samples.append(sample(n) if readable else DataError("torn"))
        if readable:
            rows += [row(f"k{n}", "web", "w", kept=web), row(f"k{n}", "synthetic", "s", kept=synthetic)]
        else:
            rows.append(image_row(Quarantined(f"k{n}", "torn")))
    folder = tmp_path_factory.mktemp("merge")
    own = ListReader([sample(n, key=f"h{n}") for n in range(human)])
    counts = run(folder, rows, ListReader(samples), {"human": own})
    kept = sum(readable * (web + synthetic) for readable, web, synthetic in images)
    assert counts["kept_web"] + counts["kept_synthetic"] == kept
    assert counts["written"] == kept + human == sum(1 for _ in read_back_or_nothing(folder))
    assert counts["images"] == len(images)
    assert counts["quarantined"] == sum(not readable for readable, _, _ in images)


def read_back_or_nothing(folder: Path) -> list[RawSample]:
    return read_back(folder) if any((folder / "stage" / "dataset").glob("*.tar")) else []


def test_lost_samples_are_an_error() -> None:
    counts: dict[str, Any] = dict.fromkeys(
        ("candidates", "kept_web", "kept_synthetic", "dropped_web", "dropped_synthetic"), 0
    )
    counts |= {"human": 2, "written": 1, "unusable": 1}
    check_accounts(counts)
    with pytest.raises(StageError, match=r"kept \+ human = written \+ unusable does not hold"):
        check_accounts(counts | {"written": 0})
    with pytest.raises(StageError, match=r"candidates = kept \+ dropped does not hold"):
        check_accounts(counts | {"candidates": 1})


def test_the_names_of_the_web_keys_endings_are_taken() -> None:
    names = {"web": Built(None), "coco": Built(None), "syn": Built(None)}
    config = MergeConfig(ledger=Path("l"), reader=Built(None), human=names)
    assert sorted(place for place, _ in config.check()) == ["human.syn", "human.web"]


def test_parts_that_are_there_are_not_computed_again(tmp_path: Path) -> None:
    schema = pa.schema([("n", pa.int64())])
    asked: list[range] = []

    def compute(indices: range) -> pa.Table:
        asked.append(indices)
        return pa.table({"n": list(indices)}, schema=schema)

    for _ in range(2):
        assert in_parts(tmp_path, 7, 3, schema, compute)["n"].to_pylist() == list(range(7))
    assert asked == [range(0, 3), range(3, 6), range(6, 7)]
    assert in_parts(tmp_path / "none", 0, 3, schema, compute).num_rows == 0
