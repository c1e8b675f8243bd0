from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mmtk_capfilt.configs import JoinLedgersConfig
from mmtk_capfilt.decisions import StepRules
from mmtk_capfilt.join import JoinLedgersStage
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

from mmtk.candidates import AtLeast
from mmtk.errors import DataError, StageError
from mmtk.types import Quarantined
from tests.small_learner import stage_context


def table_of(rows: list[LedgerRow], threshold: float = 0.5, *scores: str) -> pa.Table:
    return to_table(rows, schema(scores, [StepRules("itm_filter", (AtLeast(ITM, threshold),))]))


def write(path: Path, rows: list[LedgerRow]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table_of(rows), path)
    return path


def row(key: str, source: str = "web", *, kept: bool = True) -> LedgerRow:
    decision, step, reason = ("kept", "", "") if kept else ("dropped", "itm_filter", "too low")
    scores = {ITM: 0.75, ITC: 0.125}
    return LedgerRow(
        "a.tar", key, key, source, f"text of {key}",
        decision=decision, step=step, reason=reason, scores=scores,
    )  # fmt: skip


FIRST = [row("k0"), row("k0", "synthetic", kept=False), image_row(Quarantined("k2", "corrupt image"))]
SECOND = [row("k1", kept=False), row("k1", "synthetic")]


def join(folder: Path, *paths: Path) -> Path:
    context = stage_context(folder)
    JoinLedgersStage(ledgers=paths).run(context)
    return context.folder / "ledger.parquet"


def test_rows_stay_as_they_are_and_in_order(tmp_path: Path) -> None:
    paths = write(tmp_path / "a.parquet", FIRST), write(tmp_path / "b.parquet", SECOND)
    joined = read_ledger(join(tmp_path / "stage", *paths))
    assert joined.equals(table_of([*FIRST, *SECOND]))


def test_rules_are_kept_where_they_are_the_same(tmp_path: Path) -> None:
    first = write(tmp_path / "a.parquet", FIRST)
    joined = join(tmp_path / "same", first, write(tmp_path / "b.parquet", SECOND))
    assert read_rules(read_ledger(joined).schema, joined)[0].rules == (AtLeast(ITM, 0.5),)
    pq.write_table(table_of(SECOND, 0.6), tmp_path / "c.parquet")
    joined = join(tmp_path / "other", first, tmp_path / "c.parquet")
    with pytest.raises(DataError, match="joined"):
        read_rules(read_ledger(joined).schema, joined)


def test_a_score_that_one_ledger_lacks_is_missing_in_its_rows(tmp_path: Path) -> None:
    first = write(tmp_path / "a.parquet", FIRST)
    scored = [replace(each, scores={**each.scores, "clarity": 0.5}) for each in SECOND]
    pq.write_table(table_of(scored, 0.5, "clarity"), tmp_path / "b.parquet")
    joined = read_ledger(join(tmp_path / "stage", first, tmp_path / "b.parquet"))
    assert joined["clarity"].to_pylist() == [None] * 3 + [0.5] * 2
    assert score_names(joined.schema) == [ITM, ITC, "clarity"]


def test_the_accounts_are_the_sum_of_the_parts(tmp_path: Path) -> None:
    paths = write(tmp_path / "a.parquet", FIRST), write(tmp_path / "b.parquet", SECOND)
    counts = funnel(read_ledger(join(tmp_path / "stage", *paths)))
    parts = [funnel(table_of(rows)) for rows in (FIRST, SECOND)]
    assert counts == {name: parts[0][name] + parts[1][name] for name in counts}


def test_an_image_judged_twice_is_refused(tmp_path: Path) -> None:
    paths = write(tmp_path / "a.parquet", FIRST), write(tmp_path / "b.parquet", [*SECOND, row("k0")])
    with pytest.raises(StageError, match=r"b\.parquet and .*a\.parquet both judge the image 'k0'"):
        join(tmp_path / "stage", *paths)


def test_a_duplicate_key_that_failed_is_no_second_judgement(tmp_path: Path) -> None:
    again = image_row(Quarantined("k0", "duplicate key"))
    paths = write(tmp_path / "a.parquet", FIRST), write(tmp_path / "b.parquet", [*SECOND, again])
    counts = funnel(read_ledger(join(tmp_path / "stage", *paths)))
    assert counts["images"] == 4
    assert counts["failed_images"] == 2


def test_what_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("no table")
    with pytest.raises(DataError, match=r"a\.parquet"):
        join(tmp_path / "stage", tmp_path / "a.parquet")


def test_no_ledger_at_all_is_refused() -> None:
    assert [name for name, _ in JoinLedgersConfig(ledgers=()).check()] == ["ledgers"]
