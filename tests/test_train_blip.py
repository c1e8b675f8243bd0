"""The engine with BLIP's real parts: a small MED on generated pictures, through a recipe."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw

from mmtk.data.shards import ShardWriter
from mmtk.engine.checkpoint import load_learner
from mmtk.engine.trainer import Trainer
from mmtk.engine.weights import read_weights
from mmtk.kinds import CaptioningHead, MatchingHead
from mmtk.plugins import load_plugins
from mmtk.recipe import check_recipe, load_recipe
from mmtk.recipe.build import blueprint
from mmtk.registry import Registry
from mmtk.stages.context import StageContext
from mmtk.types import Decoding, RawSample

COLOURS = {"red": (220, 30, 30), "green": (30, 170, 60), "blue": (30, 60, 220), "yellow": (230, 210, 40)}
SHAPES = ("circle", "square")

RECIPE = """
name: tiny
seed: 1
stages:
  tokenizer:
    use: train_wordpiece
    texts: [{use: webdataset, path: DATASET}]
    vocab_size: 60
  pretrain:
    use: train
    model:
      use: med
      image_encoder: {use: timm_vit, image_size: 16, patch_size: 8, width: 32, depth: 2, heads: 2}
      text_encoder: {use: med_bert, width: 32, depth: 2, heads: 2, hidden_width: 64, max_positions: 16}
      tokenizer: {use: wordpiece, vocab: {from: tokenizer.vocabulary}, max_length: 12}
      embed_dim: 16
    heads: {itc: {use: itc}, itm: {use: itm}, lm: {use: lm}}
    momentum: {use: ema, momentum: 0.9, queue_size: 20}
    data:
      sources: {web: {reader: {use: webdataset, path: DATASET}}}
      image_transform: {use: blip_train, size: 16, scale: [0.8, 1.0]}
      batch_size: 16
    optimizer: {use: adamw, lr: 5e-3}
    schedule: {use: warmup_cosine, warmup_steps: 4}
    epochs: 6
"""


class Killed(BaseException):
    """Stands for the end of the process."""


def picture(colour: str, shape: str, place: int) -> bytes:
    image = Image.new("RGB", (32, 32), "white")
    box = (2 + place, 2 + place, 22 + place, 22 + place)
    draw = ImageDraw.Draw(image)
    (draw.ellipse if shape == "circle" else draw.rectangle)(box, fill=COLOURS[colour])
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    with ShardWriter(folder, "shapes") as writer:
        for number in range(64):
            colour, shape = list(COLOURS)[number % 4], SHAPES[number // 4 % 2]
            image = picture(colour, shape, number // 8)
            writer.write(RawSample(f"{number:03d}", image, (f"a {colour} {shape}",), f"image{number}", "web"))
    return folder


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_plugins().registry


def run(folder: Path, dataset: Path, registry: Registry, **changed: Any) -> list[str]:
    """Check the recipe, run its two stages in ``folder`` and return what they said."""
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(RECIPE.replace("DATASET", str(dataset)))
    overrides = [f"stages.pretrain.{key}={value}" for key, value in changed.items()]
    checked = check_recipe(load_recipe(folder / "recipe.yaml", overrides), registry)
    said: list[str] = []
    inputs: dict[str, Path] = {}
    for name, stage in checked.stages.items():
        (folder / name).mkdir(exist_ok=True)
        context = StageContext(name, folder / name, checked.seed, "cpu", registry, said.append)
        blueprint(stage.node, registry, inputs).build().run(context)
        inputs |= {f"{name}.{output}": folder / name / made.path for output, made in stage.outputs.items()}
    return said


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "pretrain" / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_weights(folder / "pretrain" / "checkpoint" / "weights.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, dataset: Path, registry: Registry) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run(folder, dataset, registry)
    return folder


def test_losses_go_down(trained: Path) -> None:
    lines = metrics(trained)
    assert lines[-1]["step"] == 24
    assert {"loss/itc", "loss/itm", "loss/lm", "itm/accuracy"} <= set(lines[0])
    assert lines[-1]["loss/lm"] < 0.8 * lines[0]["loss/lm"]
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]


def test_checkpoint_captions_and_matches(trained: Path, registry: Registry) -> None:
    learner = load_learner(trained / "pretrain" / "checkpoint", registry)
    images = learner.model.encode_images(torch.rand(3, 3, 16, 16))
    with torch.no_grad():
        captions = learner.head_with(CaptioningHead).generate(images, Decoding(min_length=3, max_length=8))
        texts = learner.model.encode_texts(["a red circle", "a blue square", "a green circle"])
        logits = learner.head_with(MatchingHead).match_logits(images, texts)
    assert len(captions) == 3
    assert all(isinstance(caption, str) and caption for caption in captions)
    assert logits.shape == (3, 2)
    assert logits.isfinite().all()


def test_checkpoint_holds_no_momentum_encoder(trained: Path) -> None:
    assert {name.partition(".")[0] for name in weights(trained)} == {"model", "heads"}
    assert not any("queue" in name or "twin" in name for name in weights(trained))


def test_killed_run_ends_with_the_same_bits(
    trained: Path, tmp_path: Path, dataset: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def dying(self: Trainer, batch: Any, number: int) -> dict[str, float]:
        if number == 14:
            raise Killed
        return step(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", dying)
        with pytest.raises(Killed):
            run(tmp_path, dataset, registry)
    assert "going on after step 12 of 24" in run(tmp_path, dataset, registry)

    expected, found = weights(trained), weights(tmp_path)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    timed = {"samples_per_second", "data_wait"}
    assert [{k: v for k, v in line.items() if k not in timed} for line in metrics(tmp_path)] == [
        {k: v for k, v in line.items() if k not in timed} for line in metrics(trained)
    ]


def test_fine_tuning_a_captioner_from_the_checkpoint(
    trained: Path, tmp_path: Path, dataset: Path, registry: Registry
) -> None:
    said = run(
        tmp_path,
        dataset,
        registry,
        heads="{lm: {use: lm}}",
        momentum="null",
        init=trained / "pretrain" / "checkpoint",
        epochs=1,
    )
    (line,) = [line for line in said if " tensors loaded" in line]
    assert "left over (heads.itm" in line
    assert "new" not in line
    assert metrics(tmp_path)[0]["loss/lm"] < metrics(trained)[0]["loss/lm"]
