from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mmtk_capfilt.accounts import check_accounts, check_keys
from mmtk_capfilt.decisions import StepRules
from mmtk_capfilt.ledger import (
    ITC,
    ITM,
    LedgerRow,
    funnel,
    image_row,
    read_ledger,
    read_rules,
    schema,
    score_names,
    to_table,
)
from mmtk_capfilt.parts import Part

from mmtk.candidates import AtLeast, Best
from mmtk.errors import DataError, StageError
from mmtk.types import Quarantined

RULES = [
    StepRules("length_filter", ()),
    StepRules("itm_filter", (AtLeast(ITM, 0.5, "web"), AtLeast(ITM, 0.1 + 0.2, "synthetic"))),
    StepRules("keep_best", (Best("clarity", 2),)),
]


def row(key: str, source: str = "web", decision: str = "kept", shard: str = "a.tar") -> LedgerRow:
    return LedgerRow(shard, key, key, source, f"text of {key}", decision=decision)


def test_columns_are_as_the_page_about_data_lists_them() -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")
    table = page.split("## The ledger")[1].split("\n\n")[2]
    lines = [[cell.strip(" `") for cell in line.split("|")[1:3]] for line in table.splitlines()[2:]]
    types = {"string": pa.string(), "float32": pa.float32(), "bool": pa.bool_()}
    assert [(name, types[kind]) for name, kind in lines] == [(one.name, one.type) for one in schema((), ())]


def test_further_scores_are_columns_of_their_own() -> None:
    columns = schema([ITM, "clarity", ITC, "clarity", "taste"], [])
    assert score_names(columns) == [ITM, ITC, "clarity", "taste"]
    table = to_table([LedgerRow("s", "k", "k", "web", "a", scores={"taste": 0.5}), row("l")], columns)
    assert table.to_pydict()["taste"] == [0.5, None]
    assert table[ITM].to_pylist() == [None, None]


def test_rules_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "ledger.parquet"
    pq.write_table(to_table([row("k")], schema(["clarity"], RULES)), path)
    assert read_rules(read_ledger(path).schema, path) == RULES


@pytest.mark.parametrize(
    "metadata", [None, b"{", b"[{}]", b"7", json.dumps([{"step": "a", "rules": [["worst", {}]]}]).encode()]
)
def test_missing_or_damaged_rules_are_told(metadata: bytes | None, tmp_path: Path) -> None:
    columns = schema((), ()).with_metadata({} if metadata is None else {b"mmtk.rules": metadata})
    with pytest.raises(DataError, match="doesn't hold the rules it was decided by"):
        read_rules(columns, tmp_path / "ledger.parquet")


def test_a_table_with_other_columns_is_no_ledger(tmp_path: Path) -> None:
    whole = to_table([row("k")], schema((), ()))
    for name, table in {
        "lacks": whole.drop_columns(["reason"]),
        "other": whole.set_column(1, "key", pa.array([[1]])),
    }.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
        with pytest.raises(DataError, match=rf"{name}\.parquet"):
            read_ledger(tmp_path / f"{name}.parquet")


def test_the_funnel_counts_images_texts_and_fates() -> None:
    rows = [
        row("a"), row("a", "synthetic", "dropped"), row("a", "synthetic"),
        row("b", "web", "dropped"), row("c", "web", "failed"),
        row("d-coco", "human"), row("d-coco", "human"),
        image_row(Quarantined("e", "unreadable image", "b.tar")),
    ]  # fmt: skip
    counts = funnel(to_table(rows, schema((), ())))
    assert {name: count for name, count in counts.items() if count} == {
        "images": 5, "failed_images": 1, "candidates": 7, "captioned": 1,
        "kept_web": 1, "dropped_web": 1, "failed_web": 1,
        "kept_synthetic": 1, "dropped_synthetic": 1, "kept_human": 2,
    }  # fmt: skip
    check_accounts(counts | {"written": 4}, 5, weighted=False)


def test_a_human_image_with_the_key_of_a_web_one_is_another_image() -> None:
    rows = [row("d-coco", shard="web.tar"), row("d-coco", "human", shard="coco.tar")]
    assert funnel(to_table(rows, schema((), ())))["images"] == 2


def test_an_empty_ledger_counts_nothing() -> None:
    assert set(funnel(to_table([], schema((), ()))).values()) == {0}


def test_sums_that_do_not_come_out_are_told_all_at_once() -> None:
    counts = funnel(to_table([row("a"), row("b", "web", "dropped")], schema((), ())))
    check_accounts(counts | {"written": 1}, 2, weighted=False)
    check_accounts(counts | {"written": 7}, 2, weighted=True)
    wrong = counts | {"written": 2, "dropped_web": 0}
    with pytest.raises(StageError) as error:
        check_accounts(wrong, 3, weighted=False)
    assert str(error.value) == (
        "samples were lost on the way: 3 images came in, and the ledger has 2; "
        "the ledger has 2 texts, and the fates of 1; 1 texts are kept, and 2 written"
    )


def test_a_key_in_two_parts_of_a_dataset_is_told() -> None:
    parts = [Part(0, "", 0, range(2)), Part(1, "", 0, range(2, 4)), Part(2, "coco", 1, range(1))]
    tables = [to_table(map(row, keys), schema((), ())) for keys in (["a", "a", "b"], ["c", "b"], ["c"])]
    with pytest.raises(
        StageError, match=r"^images in several parts have the same key, such as 'b' \(1 key\); each"
    ):
        check_keys(parts, tables)
    check_keys(parts[1:], tables[1:])
