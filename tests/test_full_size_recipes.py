"""The recipes with the paper's figures: sizes, schedules, and two steps of each at a small size."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import nn

from mmtk.data.shards import ShardWriter
from mmtk.plugins import load_plugins
from mmtk.recipe import CheckedRecipe, check_recipe, load_recipe
from mmtk.recipe.build import blueprint
from mmtk.registry import Registry
from mmtk.stages.runner import run_recipe
from mmtk.types import ComponentNode, RawSample

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"
VOCABULARY = ROOT / "tests" / "golden" / "vocab.txt"  # BERT uncased's, of the real size
MILLION = 1e6
SMALL_TEXT = {"width": 32, "depth": 2, "heads": 2, "hidden_width": 64, "max_positions": 64, "dropout": 0.0}
SMALL_VIT = {"patch_size": 16, "width": 32, "depth": 2, "heads": 2}


@dataclass(frozen=True)
class Data:
    """Small pairs in both formats, under the names that recipes give them."""

    shards: Path
    annotations: Path
    images: Path

    def overrides(self, recipe: str) -> list[str]:
        files = {
            "blip_base": {"pairs": self.shards},
            "blip_large": {"pairs": self.shards},
            "albef_base": {"pairs": self.shards},
            "blip_base_capfilt": {
                "pairs": self.shards,
                "human": self.annotations,
                "human_images": self.images,
            },
        }
        json_lists = {"images": self.images} | dict.fromkeys(("train", "val", "test"), self.annotations)
        named = {"vocabulary": VOCABULARY, **files.get(recipe, json_lists)}
        return [f"definitions.{name}={path}" for name, path in named.items()]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_plugins().registry


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("pairs")
    items = []
    with ShardWriter(folder / "shards", "pairs") as writer:
        for number in range(8):
            file = io.BytesIO()
            Image.new("RGB", (48, 40), (30 * number, 90, 255 - 30 * number)).save(file, "PNG")
            (folder / f"{number}.png").write_bytes(file.getvalue())
            text = f"a square with the number {number}"
            items.append({"image": f"{number}.png", "caption": text, "image_id": f"image{number // 2}"})
            writer.write(RawSample(f"{number}", file.getvalue(), (text,), f"image{number}", "web"))
    (folder / "pairs.json").write_text(json.dumps(items))
    return Data(folder / "shards", folder / "pairs.json", folder)


def checked(name: str, data: Data, registry: Registry, *overrides: str) -> CheckedRecipe:
    given = [*data.overrides(Path(name).name), "definitions.init=null", *overrides]
    return check_recipe(load_recipe(RECIPES / f"{name}.yaml", given), registry)


def training(recipe: CheckedRecipe) -> Iterator[tuple[str, ComponentNode]]:
    for name, stage in recipe.stages.items():
        if stage.node.use == "train":
            yield name, stage.node


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def vit(width: int, depth: int, size: int) -> int:
    """Parameters of a ViT with patches of 16 pixels (Dosovitskiy et al. 2021)."""
    patches = (size // 16) ** 2
    layer = 12 * width * width + 13 * width
    return (3 * 16 * 16 + 1) * width + (patches + 2) * width + depth * layer + 2 * width


def med(vit_width: int) -> int:
    """Parameters of the tied text transformer of BERT-base's size with its prediction head (BLIP §3.1)."""
    width, hidden, vocabulary = 768, 3072, 30524
    linear, norm = width * width + width, 2 * width
    attention = 4 * linear + norm
    cross_attention = 2 * linear + 2 * (vit_width * width + width) + norm
    feed_forward = 2 * width * hidden + hidden + width + norm
    embeddings = (vocabulary + 512) * width + norm
    prediction = linear + norm + vocabulary
    return embeddings + 12 * (2 * attention + cross_attention + feed_forward) + prediction


FULL_SIZES = {
    "blip_base": ("pretrain", vit(768, 12, 224) + med(768), 252),
    "blip_large": ("pretrain", vit(1024, 24, 224) + med(1024), 474),
    "blip_base_capfilt": ("captioner", vit(768, 12, 384) + med(768), 252),
    "finetune/caption_coco": ("finetune", vit(768, 12, 384) + med(768), 252),
    "finetune/retrieval_coco": ("finetune", vit(768, 12, 384) + med(768), 252),
    "finetune/retrieval_flickr": ("finetune", vit(768, 12, 384) + med(768), 252),
}


@pytest.mark.parametrize("name", FULL_SIZES)
def test_parameters_are_the_papers(name: str, data: Data, registry: Registry) -> None:
    """Without projections, temperature, ITM head and momentum: BLIP table 3 counts 252M at base size."""
    stage, expected, millions = FULL_SIZES[name]
    node = checked(name, data, registry).stages[stage].node
    with torch.device("meta"):
        model = blueprint(node.keys["model"], registry, {}).build()
        lm = blueprint(_lm(), registry, {}).build(model=model)
    assert count(model.image_encoder, model.text_transformer, lm) == expected
    assert round(expected / MILLION) == millions


def _lm() -> ComponentNode:
    keys = {"loss": ComponentNode("loss", "cross_entropy"), "prompt": "", "weight": 1.0}
    return ComponentNode("head", "lm", keys)


# Steps per epoch, total steps, and learning rates by step.
LONG, EPOCHS = 10_000, 20
RATES: dict[str, dict[str, tuple[int, int, dict[int, float]]]] = {
    "blip_base": {
        "pretrain": (
            LONG,
            EPOCHS * LONG,
            {0: 1e-6, 1500: (1e-6 + 3e-4) / 2, 3000: 3e-4, LONG: 2.7e-4, 19 * LONG: 4.05e-5},
        )
    },
    "blip_large": {"pretrain": (LONG, EPOCHS * LONG, {0: 1e-6, 3000: 2e-4, 19 * LONG: 2e-4 * 0.9**19})},
    "blip_base_capfilt": {
        "pretrain_bootstrapped": (LONG, EPOCHS * LONG, {0: 1e-6, 3000: 3e-4, 19 * LONG: 4.05e-5}),
        "captioner": (100, 500, {0: 1e-5, 99: 1e-5, 100: 0.5e-5 * (1 + math.cos(math.pi / 5))}),
        "filter": (100, 600, {0: 1e-5, 300: 0.5e-5}),
    },
    "finetune/caption_coco": {
        "finetune": (100, 500, {0: 1e-5, 499: 0.5e-5 * (1 + math.cos(math.pi * 4 / 5))})
    },
    "finetune/retrieval_coco": {"finetune": (100, 600, {0: 1e-5, 300: 0.5e-5})},
    "finetune/retrieval_flickr": {"finetune": (100, 600, {0: 1e-5, 300: 0.5e-5})},
}


@pytest.mark.parametrize("name", RATES)
def test_learning_rates_are_the_papers(name: str, data: Data, registry: Registry) -> None:
    recipe = checked(name, data, registry)
    for stage, (per_epoch, total, rates) in RATES[name].items():
        keys = recipe.stages[stage].node.keys
        assert keys["epochs"] * per_epoch == total
        schedule = blueprint(keys["schedule"], registry, {}).build()
        peak = keys["optimizer"].keys["lr"]
        found = {step: peak * schedule(step, per_epoch, total) for step in rates}
        assert found == pytest.approx(rates, rel=2e-3)


FIGURES = {
    "blip_base": {"pretrain": {"epochs": 20, "momentum.momentum": 0.995, "momentum.queue_size": 57600}},
    "finetune/retrieval_coco": {
        "finetune": {"heads.itm.negatives_from": "all_ranks", "data.batch_size": 32},
        "evaluate": {"metrics.retrieval.k": 256},
    },
    "finetune/retrieval_flickr": {
        "finetune": {"heads.itm.negatives_from": "rank"},
        "evaluate": {"metrics.retrieval.k": 128},
    },
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_that_extending_recipes_could_lose(name: str, data: Data, registry: Registry) -> None:
    recipe = checked(name, data, registry)
    for stage, figures in FIGURES[name].items():
        for key, expected in figures.items():
            assert _at(recipe.stages[stage].node, key) == expected


def _at(value: Any, key: str) -> Any:
    for part in key.split("."):
        keys = value.keys if isinstance(value, ComponentNode) else value
        value = keys[part] if isinstance(keys, dict) else getattr(keys, part)
    return value


def small_vit(place: str, size: int) -> dict[str, Any]:
    return {f"{place}.{key}": one for key, one in {**SMALL_VIT, "image_size": size}.items()}


def small_text(stage: str) -> dict[str, Any]:
    return {f"stages.{stage}.model.text_encoder.{key}": one for key, one in SMALL_TEXT.items()}


SMALL_PRETRAINING = (
    small_vit("definitions.image_encoder", 32)
    | small_text("pretrain")
    | {"stages.pretrain.data.image_transform.size": 32, "stages.pretrain.data.workers": 0}
)
SMALL_FINE_TUNING = (
    small_vit("definitions.image_encoder", 32) | small_text("finetune") | {"definitions.image_size": 32}
)
SMALL_CAPFILT = (
    SMALL_PRETRAINING
    | small_vit("definitions.finetune_encoder", 48)
    | {"definitions.finetune_size": 48, "definitions.finetune_batch_size": 4}
)
SMALL = {
    "blip_base": SMALL_PRETRAINING,
    "blip_large": SMALL_PRETRAINING,
    "blip_base_capfilt": SMALL_CAPFILT,
    "finetune/caption_coco": SMALL_FINE_TUNING,
    "finetune/retrieval_coco": SMALL_FINE_TUNING,
    "finetune/retrieval_flickr": SMALL_FINE_TUNING,
}


def shrunk(name: str, recipe: CheckedRecipe) -> list[str]:
    """Overrides that leave a recipe as it is but for its sizes, and end each training after two steps."""
    values = SMALL[name] | {"definitions.batch_size": 4}
    for stage, node in training(recipe):
        values[f"stages.{stage}.max_steps"] = 2
        if node.keys["momentum"] is not None:
            values[f"stages.{stage}.momentum.queue_size"] = 7  # no multiple of the batch
    return [f"{key}={value}" for key, value in values.items()]


@pytest.mark.parametrize("name", FULL_SIZES)
def test_two_small_steps(name: str, data: Data, registry: Registry, tmp_path: Path) -> None:
    full = checked(name, data, registry)
    recipe = checked(name, data, registry, *shrunk(name, full), f"run_dir={tmp_path / 'run'}", "device=cpu")
    printed = io.StringIO()
    run_recipe(recipe, registry, Console(file=printed, width=200))
    assert "of another shape" not in printed.getvalue()
    for stage, node in training(recipe):
        lines = (tmp_path / "run" / stage / "metrics.jsonl").read_text().splitlines()
        last = json.loads(lines[-1])
        assert last["step"] == 2
        assert {f"loss/{head}" for head in node.keys["heads"]} <= set(last)
        assert (tmp_path / "run" / stage / "checkpoint").is_dir()
