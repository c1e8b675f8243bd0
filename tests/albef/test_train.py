"""The shipped recipe, shrunk, trains two steps; what doesn't go together says so."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mmtk.data.shards import ShardWriter
from mmtk.engine.checkpoint import load_learner
from mmtk.engine.trainer import Trainer
from mmtk.engine.weights import read_weights
from mmtk.errors import RecipeError
from mmtk.kinds import MatchingHead
from mmtk.plugins import load_plugins
from mmtk.recipe import check_recipe, load_recipe
from mmtk.recipe.build import blueprint
from mmtk.registry import Registry
from mmtk.stages.context import StageContext
from mmtk.types import RawSample

from .parts import TEXTS, VOCABULARY

RECIPE = Path(__file__).parents[2] / "recipes" / "albef_base.yaml"
SMALLER = {
    "model.image_encoder": "{use: timm_vit, image_size: 32, patch_size: 16, width: 16, depth: 1, heads: 2}",
    "model.text_encoder.width": "16",
    "model.text_encoder.text_depth": "1",
    "model.text_encoder.fusion_depth": "1",
    "model.text_encoder.heads": "2",
    "model.text_encoder.hidden_width": "32",
    "model.embed_dim": "8",
    "heads.mlm.probability": "0.4",
    "momentum.queue_size": "6",
    "data.image_transform.size": "32",
    "data.batch_size": "4",
    "data.workers": "0",
    "schedule": "{use: cosine_epochs, warmup_steps: 1, start: 0.1, floor: 0.1}",
    "optimizer.lr": "1e-3",
    "epochs": "1",
    "init": "null",
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_plugins().registry


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with eight pairs and two vocabularies, one of them without [MASK]."""
    folder = tmp_path_factory.mktemp("files")
    with ShardWriter(folder / "pairs", "pairs") as writer:
        for number in range(8):
            file = io.BytesIO()
            Image.new("RGB", (40, 40), (30 * number, 255 - 30 * number, 90)).save(file, "PNG")
            text = TEXTS[number % len(TEXTS)]
            writer.write(RawSample(f"{number}", file.getvalue(), (text,), f"image{number}", "web"))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    (folder / "no_mask.txt").write_text("\n".join(t for t in VOCABULARY if t != "[MASK]") + "\n")
    return folder


def train(
    folder: Path, files: Path, registry: Registry, vocabulary: str = "vocab.txt", **changed: Any
) -> list[str]:
    """Run the recipe's only stage in ``folder`` and return what it said; ``__`` in keys stands for a dot."""
    said: list[str] = []
    wanted = {name.replace("__", "."): value for name, value in changed.items()}
    smaller = {key: value for key, value in SMALLER.items() if not key.startswith(tuple(wanted))}
    overrides = [f"stages.pretrain.{key}={value}" for key, value in {**smaller, **wanted}.items()]
    overrides += [f"definitions.pairs={files / 'pairs'}", f"definitions.vocabulary={files / vocabulary}"]
    checked = check_recipe(load_recipe(RECIPE, overrides), registry)
    context = StageContext("pretrain", folder, checked.seed, "cpu", registry, said.append)
    blueprint(checked.stages["pretrain"].node, registry, {}).build().run(context)
    return said


def test_two_steps(tmp_path: Path, files: Path, registry: Registry) -> None:
    train(tmp_path, files, registry)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 2
    assert {"loss/itc", "loss/itm", "loss/mlm", "mlm/accuracy", "itm/accuracy"} <= set(lines[-1])
    learner = load_learner(tmp_path / "checkpoint", registry)
    names = {name.partition(".")[2].partition(".")[0] for name, _ in learner.named_parameters()}
    assert {"text_transformer", "prediction", "image_encoder", "itm"} <= names
    images, texts = learner.model.encode_images(torch.rand(4, 3, 32, 32)), learner.model.encode_texts(TEXTS)
    logits = learner.head_with(MatchingHead).match_logits(images, texts)
    assert logits.shape == (4, 2)
    assert logits.isfinite().all()


def test_masked_words_are_learned(tmp_path: Path, files: Path, registry: Registry) -> None:
    narrow = {"model__text_encoder__init_std": "0.25", "model__text_encoder__dropout": "0"}
    narrow["momentum__momentum"] = "0.9"  # 0.995 is for runs of more than 80 steps
    train(tmp_path, files, registry, epochs="40", optimizer__lr="1e-2", log_every="8", **narrow)
    first, *_, last = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert last["loss/mlm"] < 0.75 * first["loss/mlm"]
    assert last["mlm/accuracy"] > first["mlm/accuracy"] + 0.2


def test_a_killed_run_ends_with_the_same_bits(
    tmp_path: Path, files: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    train(whole, files, registry, epochs="2")
    step = Trainer.step

    def dying(self: Trainer, batch: Any, number: int) -> dict[str, float]:
        if number == 3:
            raise KeyboardInterrupt
        return step(self, batch, number)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "step", dying)
        train(killed, files, registry, epochs="2")
    assert "going on after step 2 of 4" in train(killed, files, registry, epochs="2")
    expected, found = (read_weights(f / "checkpoint" / "weights.safetensors") for f in (whole, killed))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    lines = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 4


def test_without_a_momentum_encoder(tmp_path: Path, files: Path, registry: Registry) -> None:
    train(tmp_path, files, registry, momentum="null")
    assert (tmp_path / "checkpoint").is_dir()


def test_a_vocabulary_without_mask(tmp_path: Path, files: Path, registry: Registry) -> None:
    with pytest.raises(RecipeError, match=r"vocabulary with \[MASK\]"):
        train(tmp_path, files, registry, vocabulary="no_mask.txt")
    train(tmp_path, files, registry, vocabulary="no_mask.txt", heads="{itc: {use: itc}, itm: {use: itm}}")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"heads": "{lm: {use: lm}}"}, "needs a text encoder with a decoder, such as med's med_bert"),
        (
            {
                "model__use": "med",
                "model__text_encoder": "{use: med_bert, width: 16, depth: 1, heads: 2, hidden_width: 32}",
            },
            "predicts masked words: use albef",
        ),
        (
            {"model__text_encoder": "{use: med_bert, width: 16, depth: 1, heads: 2, hidden_width: 32}"},
            "with fusion layers: use albef_bert",
        ),
    ],
)
def test_parts_that_do_not_fit(
    tmp_path: Path, files: Path, registry: Registry, changed: dict[str, str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        train(tmp_path, files, registry, **changed)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("model.text_encoder.heads=5", "5 heads don't divide the width 768"),
        ("model.tokenizer.max_length=600", "600 is more than the text encoder's 512"),
        ("heads.mlm.probability=0", "heads.mlm.probability"),
    ],
)
def test_the_check_sees_faulty_keys(files: Path, registry: Registry, fault: str, message: str) -> None:
    overrides = [
        f"definitions.pairs={files / 'pairs'}",
        f"definitions.vocabulary={files / 'vocab.txt'}",
        f"stages.pretrain.{fault}",
    ]
    with pytest.raises(RecipeError, match=message):
        check_recipe(load_recipe(RECIPE, overrides), registry)
