"""The stages as a recipe runs them: real plugins, a real (untrained) MED, shards on disk."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from mmtk_capfilt.ledger import read_ledger
from rich.console import Console

from mmtk.data.images.decode import decode_image
from mmtk.data.readers.webdataset import WebDatasetReader
from mmtk.data.shards import ShardWriter
from mmtk.data.texts import BlipCaption
from mmtk.engine.checkpoint import LearnerNodes, build_learner, load_learner, save_learner
from mmtk.plugins import load_plugins
from mmtk.recipe import check_recipe, load_recipe
from mmtk.recipe.build import blueprint, from_plain
from mmtk.registry import Registry
from mmtk.stages.runner import run_recipe
from tests.small_learner import picture, sample

WORDS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "blue", "cat", "dog", "of", "picture", "on", "text"),
    *map(str, range(10)),
]
IMAGES = 7


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_plugins().registry


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Path:
    """A checkpoint, web shards with a broken image, human shards and the truth of the web texts."""
    folder = tmp_path_factory.mktemp("inputs")
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    model = {
        "use": "med",
        "image_encoder": {
            "use": "timm_vit", "image_size": 32, "patch_size": 16, "width": 16, "depth": 1, "heads": 2
        },
        "text_encoder": {
            "use": "med_bert", "width": 16, "depth": 1, "heads": 2, "hidden_width": 32, "max_positions": 32
        },
        "tokenizer": {"use": "wordpiece", "vocab": str(vocabulary)},
        "embed_dim": 8,
    }  # fmt: skip
    heads = {name: from_plain("head", {"use": name}, registry) for name in ("itc", "itm", "lm")}
    nodes = LearnerNodes(from_plain("model", model, registry), heads)
    torch.manual_seed(3)
    learner = build_learner(nodes, registry)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    save_learner(learner.state_dict(), nodes, folder / "checkpoint")
    with ShardWriter(folder / "web", "web", samples_per_shard=4) as shards:
        for n in range(IMAGES):
            shards.write(sample(n, f"A red cat, {n}!"))
    with ShardWriter(folder / "human", "human") as shards:
        shards.write(sample(90, "a blue dog", key="h0"))
    damage(folder / "web" / "web-000001.tar", picture(5))
    truth = [
        {"key": f"k{n}", "clean": n % 2 == 0, "noise_kind": None if n % 2 == 0 else "swap", "label": "a cat"}
        for n in range(IMAGES)
    ]
    pq.write_table(pa.Table.from_pylist(truth), folder / "truth.parquet")
    return folder


def damage(shard: Path, image: bytes) -> None:
    """Blank out an image's bytes inside a tar."""
    data = shard.read_bytes()
    assert data.count(image) == 1
    shard.write_bytes(data.replace(image, bytes(len(image))))


def recipe(folder: Path, inputs: Path, **filter_keys: Any) -> Path:
    web = {"use": "webdataset", "path": str(inputs / "web")}
    human = {"use": "webdataset", "path": str(inputs / "human")}
    transform = {"use": "blip_test", "size": 32}
    data = {"reader": web, "image_transform": transform, "batch_size": 3}
    checkpoint = str(inputs / "checkpoint")
    steps = [
        {
            "use": "caption",
            "checkpoint": checkpoint,
            "decoding": {"min_length": 3, "max_length": 8, "prompt": "a picture of"},
        },
        {"use": "itm_filter", "checkpoint": checkpoint, **filter_keys},
        {"use": "merge", "human": {"human": human}},
    ]
    stages = {
        "capfilt": {"use": "capfilt", "data": data, "steps": steps, "part_size": 4},
        "evaluate": {
            "use": "evaluate",
            "checkpoint": checkpoint,
            "splits": {"web": data},
            "metrics": {
                "retrieval": {"use": "retrieval", "k": 3, "pairs_per_batch": 5},
                "captions": {"use": "captioning", "decoding": {"beams": 2, "min_length": 2, "max_length": 6}},
            },
        },
        "evaluate_filter": {
            "use": "evaluate_filter",
            "ledger": {"from": "capfilt.ledger"},
            "truth": str(inputs / "truth.parquet"),
        },
    }
    path = folder / "recipe.yaml"
    content = {
        "name": "capfilt",
        "seed": 5,
        "device": "cpu",
        "run_dir": str(folder / "run"),
        "stages": stages,
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def run(path: Path, registry: Registry) -> Path:
    checked = check_recipe(load_recipe(path), registry)
    run_recipe(checked, registry, Console(file=io.StringIO()))
    return checked.run_dir


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, inputs: Path, registry: Registry) -> Path:
    return run(recipe(tmp_path_factory.mktemp("done"), inputs), registry)


def test_a_recipe_captions_filters_merges_and_evaluates(done: Path) -> None:
    ledger = read_ledger(done / "capfilt" / "ledger.parquet").to_pylist()
    assert [row["source"] for row in ledger].count("image") == 1
    scored = [row for row in ledger if row["source"] in ("web", "synthetic")]
    assert len(scored) == 2 * (IMAGES - 1)
    assert all(
        0 <= row["itm_probability"] <= 1 and -1.001 <= row["itc_similarity"] <= 1.001 for row in scored
    )
    assert all(row["text"] == f"A red cat, {row['key'][1:]}!" for row in scored if row["source"] == "web")
    assert not any(row["text"].startswith("a picture of") for row in scored if row["source"] == "synthetic")

    funnel = json.loads((done / "capfilt" / "funnel.json").read_text("utf-8"))
    assert (funnel["images"], funnel["captioned"], funnel["failed_images"]) == (IMAGES + 1, IMAGES - 1, 1)
    merged = WebDatasetReader(done / "capfilt" / "dataset")
    assert len(merged) == funnel["written"] == sum(row["decision"] == "kept" for row in ledger)
    assert not merged.quarantined
    assert {merged[index].source for index in range(len(merged))} <= {"web", "synthetic", "human"}

    metrics = json.loads((done / "evaluate" / "metrics.json").read_text("utf-8"))
    assert metrics["web/retrieval/images"] == metrics["web/captions/images"] == IMAGES - 1
    assert 0 <= metrics["web/retrieval/text_to_image/r1"] <= metrics["web/retrieval/text_to_image/r5"] <= 1
    compared = json.loads((done / "evaluate_filter" / "filter.json").read_text("utf-8"))
    assert 0 <= compared["roc_auc"] <= 1
    assert compared["web_texts"] == IMAGES - 1


def test_the_filter_reads_the_matching_head_pair_by_pair(
    done: Path, inputs: Path, registry: Registry
) -> None:
    """What a batch of three images with two texts each gives is what single pairs give."""
    learner = load_learner(inputs / "checkpoint", registry)
    reader = WebDatasetReader(inputs / "web")
    transform = from_plain("image_transform", {"use": "blip_test", "size": 32}, registry)
    prepare = blueprint(transform, registry, {}).build()
    images = {reader[n].key: reader[n].image for n in range(len(reader))}
    for row in read_ledger(done / "capfilt" / "ledger.parquet").to_pylist():
        if row["itm_probability"] is None:
            continue
        pixels = prepare(decode_image(images[row["key"]]), torch.Generator())
        with torch.inference_mode():
            image = learner.model.encode_images(pixels[None])
            text = learner.model.encode_texts([BlipCaption()(row["text"])])
            logits = learner.heads["itm"].match_logits(image, text)
            similarity = (image.features @ text.features.T).item()
        assert row["itm_probability"] == pytest.approx(logits.softmax(1)[0, 1].item(), abs=1e-4)
        assert row["itc_similarity"] == pytest.approx(similarity, abs=1e-4)


def test_a_threshold_of_zero_keeps_every_text(tmp_path: Path, inputs: Path, registry: Registry) -> None:
    done = run(recipe(tmp_path, inputs, threshold=0.0), registry)
    rows = read_ledger(done / "capfilt" / "ledger.parquet").to_pylist()
    assert all(row["decision"] == "kept" for row in rows if row["source"] != "image")


def test_the_shipped_recipe_cleans_pairs_with_models_that_are_there(
    tmp_path: Path, inputs: Path, registry: Registry
) -> None:
    values = {
        "definitions.web.path": inputs / "web",
        "definitions.captioner": inputs / "checkpoint",
        "definitions.filter": inputs / "checkpoint",
        "definitions.size": 32,
        "stages.capfilt.part_size": 3,
        "stages.capfilt.executor.workers": 2,
        "run_dir": tmp_path / "run",
        "device": "cpu",
    }
    recipe_path = Path(__file__).parents[2] / "recipes" / "capfilt.yaml"
    overrides = [f"{key}={value}" for key, value in values.items()]
    checked = check_recipe(load_recipe(recipe_path, overrides), registry)
    run_recipe(checked, registry, Console(file=io.StringIO()))
    rows = read_ledger(tmp_path / "run" / "capfilt" / "ledger.parquet").to_pylist()
    assert len({row["key"] for row in rows}) == IMAGES
    assert (tmp_path / "run" / "report.html").is_file()
