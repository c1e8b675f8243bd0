"""The ablation's tables from made-up runs, and that they read what the recipe makes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from mmtk_capfilt.ledger import ITC, ITM, LedgerRow, schema, to_table

from benchmarks import seed_runs
from benchmarks.ablation_table import (
    COMPARED,
    FIGURES,
    FILTER_FIGURES,
    JUDGED,
    RECIPE,
    ROUNDS,
    SPLITS,
    TABLE,
    WAYS,
    dropped_share,
    read_run,
    summary,
    tables,
)
from benchmarks.seed_runs import BEGIN, END, TableError
from mmtk.plugins import load_plugins
from mmtk.recipe import check_recipe, load_recipe
from mmtk.stages.record import StageRecord, Status, write_record

GAIN = {
    "none": 0.0,
    "filter": 0.1,
    "captioner": 0.05,
    "both": 0.2,
    "beam": 0.15,
    "shared": 0.25,
    "round_2": 0.2,
}


SCORES = {"cat": 0.9, "dog": 0.3, "cow": 0.6, "owl": 0.1}
TRUTH = [
    {"key": key, "clean": kind is None, "noise_kind": kind, "label": key}
    for key, kind in (("cat", None), ("dog", None), ("cow", "swap"), ("owl", "tags"))
]


def make_run(folder: Path, seed: int) -> None:
    (folder / "train").mkdir(parents=True)
    (folder / "recipe.resolved.yaml").write_text(yaml.safe_dump({"stages": {"train": {}}}))
    times = {"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:01:00+00:00"}
    record = StageRecord(Status.DONE, "f", node={}, seed=seed, inputs={}, files={}, plugins={}, **times)
    write_record(folder / "train", record)
    for way, gain in GAIN.items():
        metrics = {f"{split}/{key}": 0.3 + gain + 0.01 * seed for split in SPLITS for key in FIGURES.values()}
        write(folder / f"evaluate_{way}" / "metrics.json", metrics)
    for way in JUDGED:
        counts = {"kept_web": 6, "dropped_web": 2, "kept_synthetic": 1, "dropped_synthetic": 1}
        write(folder / f"capfilt_{way}" / "funnel.json", counts)
        write(folder / f"judge_{way}" / "filter.json", dict.fromkeys(FILTER_FIGURES.values(), 0.5))
    rows = [LedgerRow("s", key, key, "web", key, scores={ITM: one, ITC: one}) for key, one in SCORES.items()]
    for way in ROUNDS:
        path = folder / f"capfilt_{way}" / "ledger.parquet"
        pq.write_table(to_table(rows, schema([ITM, ITC], [])), path)
    (folder / "emoji").mkdir()
    pq.write_table(pa.Table.from_pylist(TRUTH), folder / "emoji" / "truth.parquet")


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))


def test_the_tables_show_each_way_and_compare_within_a_run(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path / str(seed), seed)
    result = summary([read_run(tmp_path / str(seed), seed) for seed in (0, 1)], "make it", 1)
    by_names = {(one["better"], one["worse"]): one for one in result["comparisons"]}
    assert by_names["both", "none"]["T2I R@1"].mean == pytest.approx(20)
    assert by_names["both", "none"]["T2I R@1"].deviation == pytest.approx(0, abs=1e-9)
    assert by_names["both", "shared"]["CIDEr"].mean == pytest.approx(-5)
    text = tables(result)
    assert "| captioner and filter | 30.0 ± 0.0% | 0.505 ± 0.007 |" in text
    assert "| 4 | captioner and filter over both, in one model | -5.0 ± 0.0 (+0.8) |" in text
    assert "| +20.0 ± 0.0 (+2.2) |" in text
    assert "| 3 of 3; 3 beyond one deviation |" in text
    assert "| 0 of 3; 3 beyond one deviation |" in text
    assert "| recall: swap | 0.500 ± 0.000 |" in text, "of each filter, at its own threshold"
    assert "| threshold | 0.110 ± 0.000 | 0.110 ± 0.000 |" in text  # above the wrong text of 0.1
    assert "| recall: swap | 0.000 ± 0.000 | 0.000 ± 0.000 |" in text
    assert "| precision: tags | 1.000 ± 0.000 | 1.000 ± 0.000 |" in text
    assert "the seeds 0, 1. Made by `make it`" in text


def test_the_share_of_dropped_texts_leaves_human_ones_out() -> None:
    counts = {"kept_web": 1, "dropped_web": 3, "kept_synthetic": 4, "dropped_synthetic": 0, "kept_human": 90}
    assert dropped_share(counts) == pytest.approx(3 / 8)


def test_an_unfinished_run_is_named(tmp_path: Path) -> None:
    make_run(tmp_path / "0", 0)
    (tmp_path / "0" / "evaluate_beam" / "metrics.json").unlink()
    with pytest.raises(TableError, match=r"evaluate_beam/metrics\.json: this run is missing or not finished"):
        read_run(tmp_path / "0", 0)


def test_what_is_read_is_what_the_recipe_makes() -> None:
    recipe = check_recipe(load_recipe(RECIPE), load_plugins().registry)
    for way in WAYS:
        evaluate = recipe.stages[f"evaluate_{way}"]
        assert evaluate.inputs == {
            (f"pretrain_{way}", "checkpoint"),
            ("emoji", "test"),
            ("emoji", "test_style"),
        }
        assert set(evaluate.node.keys["splits"]) == set(SPLITS)
    for way in JUDGED:
        assert recipe.stages[f"judge_{way}"].inputs >= {(f"capfilt_{way}", "ledger")}
        assert recipe.stages[f"capfilt_{way}"].outputs["funnel"].path == "funnel.json"


def test_the_table_goes_between_the_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "seed-3", 3)
    monkeypatch.setattr(seed_runs, "mmtk_command", lambda *_: [sys.executable, "-c", "pass"])
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    assert TABLE.main(["--runs", str(tmp_path), "--seeds", "3", "--write", str(page)]) == 0
    assert "no CapFilt" in page.read_text()
    assert capfd.readouterr().out.strip() in page.read_text()
    assert len(COMPARED) == 3
