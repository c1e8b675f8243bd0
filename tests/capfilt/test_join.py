from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mmtk_capfilt.configs import JoinLedgersConfig
from mmtk_capfilt.join import JoinLedgersStage
from mmtk_capfilt.ledger import LedgerRow, funnel, image_row, read_ledger, to_table

from mmtk.errors import DataError, StageError
from mmtk.types import Quarantined
from tests.small_learner import stage_context


def write(path: Path, rows: list[LedgerRow]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(to_table(rows), path)
    return path


def row(key: str, source: str = "web", *, kept: bool = True) -> LedgerRow:
    return LedgerRow(key, key, source, f"text of {key}", 0.7, 0.1, kept, "" if kept else "too low")


FIRST = [row("k0"), row("k0", "synthetic", kept=False), image_row(Quarantined("k2", "corrupt image"))]
SECOND = [row("k1", kept=False), row("k1", "synthetic")]


def join(folder: Path, *paths: Path) -> Path:
    context = stage_context(folder)
    JoinLedgersStage(ledgers=paths).run(context)
    return context.folder / "ledger.parquet"


def test_rows_stay_as_they_are_and_in_order(tmp_path: Path) -> None:
    paths = write(tmp_path / "a.parquet", FIRST), write(tmp_path / "b.parquet", SECOND)
    joined = read_ledger(join(tmp_path / "stage", *paths))
    assert joined.equals(to_table([*FIRST, *SECOND]))


def test_the_accounts_are_the_sum_of_the_parts(tmp_path: Path) -> None:
    paths = write(tmp_path / "a.parquet", FIRST), write(tmp_path / "b.parquet", SECOND)
    counts = funnel(read_ledger(join(tmp_path / "stage", *paths)))
    parts = [funnel(to_table(rows)) for rows in (FIRST, SECOND)]
    assert counts == {name: parts[0][name] + parts[1][name] for name in counts}


def test_an_image_judged_twice_is_refused(tmp_path: Path) -> None:
    paths = write(tmp_path / "a.parquet", FIRST), write(tmp_path / "b.parquet", [*SECOND, row("k0")])
    with pytest.raises(StageError, match=r"b\.parquet and .*a\.parquet both judge the image 'k0'"):
        join(tmp_path / "stage", *paths)


def test_a_duplicate_key_that_was_quarantined_is_no_second_judgement(tmp_path: Path) -> None:
    again = image_row(Quarantined("k0", "duplicate key"))
    paths = write(tmp_path / "a.parquet", FIRST), write(tmp_path / "b.parquet", [*SECOND, again])
    counts = funnel(read_ledger(join(tmp_path / "stage", *paths)))
    assert counts["images"] == 4
    assert counts["quarantined"] == 2


def test_what_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("no table")
    with pytest.raises(DataError, match=r"a\.parquet"):
        join(tmp_path / "stage", tmp_path / "a.parquet")


def test_no_ledger_at_all_is_refused() -> None:
    assert [name for name, _ in JoinLedgersConfig(ledgers=()).check()] == ["ledgers"]
