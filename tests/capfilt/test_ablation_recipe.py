"""recipes/capfilt_ablation.yaml from end to end, with models and training too small to learn anything."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from mmtk_capfilt.ledger import ITM, read_ledger
from rich.console import Console

from mmtk.data.readers.webdataset import WebDatasetReader
from mmtk.plugins import load_plugins
from mmtk.recipe import check_recipe, load_recipe
from mmtk.stages.runner import run_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "capfilt_ablation.yaml"
SMALL = {
    "device": "cpu",
    "definitions.categories": "[activities]",
    "definitions.steps": "2",
    "definitions.epochs": "{captioner: 1, filter: 1}",
    "definitions.model.image_encoder": (
        "{use: timm_vit, image_size: 32, patch_size: 16, width: 32, depth: 1, heads: 2}"
    ),
    "definitions.model.text_encoder.width": "32",
    "definitions.model.text_encoder.depth": "2",  # maps of words need one below the last
    "definitions.model.text_encoder.hidden_width": "64",
    "definitions.model.embed_dim": "16",
    "stages.vocabulary.vocab_size": "150",
}
PASSES = ("filter", "captioner", "both", "beam", "shared", "round_2")


@pytest.mark.slow
def test_the_ablation_runs_from_end_to_end(tmp_path: Path) -> None:
    registry = load_plugins().registry
    overrides = [f"{key}={value}" for key, value in SMALL.items()]
    checked = check_recipe(load_recipe(RECIPE, [*overrides, f"run_dir={tmp_path}"]), registry)
    run_recipe(checked, registry, Console(file=io.StringIO()))

    records = {
        path.parent.name: json.loads(path.read_text("utf-8")) for path in tmp_path.glob("*/stage.json")
    }
    assert records.keys() == checked.stages.keys()
    assert {record["status"] for record in records.values()} == {"done"}
    assert (tmp_path / "report.html").is_file()
    web = len(WebDatasetReader(tmp_path / "emoji" / "web_train", index=tmp_path / "indexes"))
    human = len(WebDatasetReader(tmp_path / "emoji" / "human_train", index=tmp_path / "indexes"))
    for name in PASSES:
        stage = tmp_path / f"capfilt_{name}"
        counts = json.loads((stage / "funnel.json").read_text("utf-8"))
        rows = read_ledger(stage / "ledger.parquet").to_pylist()
        assert counts["images"] == web + human
        assert counts["failed_images"] == 0
        assert counts["captioned"] == (0 if name == "filter" else web)
        kept = sum(row["decision"] == "kept" for row in rows)
        dataset = WebDatasetReader(stage / "dataset", index=tmp_path / "indexes")
        assert len(dataset) == counts["written"] == kept
        judged = [row for row in rows if row["source"] != "human" and not row["final"]]
        assert all((row[ITM] is None) == (name == "captioner") for row in judged)
        models = {row["scored_by"].count("+") for row in judged if row["scored_by"]}
        assert models == (set() if name == "captioner" else {0} if name == "round_2" else {1})
        metrics = json.loads((tmp_path / f"evaluate_{name}" / "metrics.json").read_text("utf-8"))
        assert 0 <= metrics["test/retrieval/text_to_image/r1"] <= 1
