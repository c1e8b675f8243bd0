"""A distribution from outside, installed by pip, takes part in listing, checking and training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmtk.engine.weights import read_weights
from mmtk.testing import check_head, check_negatives, tiny_model
from tests.third_party import PACKAGES, imported_from_mmtk, install, mmtk

SOURCE = PACKAGES / "mmtk_example"
RECIPE = """
name: third_party
seed: 3
stages:
  emoji: {use: emoji_data, categories: [activities]}
  words:
    use: train_wordpiece
    texts: [{use: webdataset, path: {from: emoji.human_train}}]
    vocab_size: 150
  train:
    use: train
    model:
      use: med
      image_encoder: {use: timm_vit, image_size: 32, patch_size: 16, width: 32, depth: 1, heads: 2}
      text_encoder: {use: med_bert, width: 32, depth: 1, heads: 2, hidden_width: 64, max_positions: 24}
      tokenizer: {use: wordpiece, vocab: {from: words.vocabulary}, max_length: 16}
      embed_dim: 16
    heads:
      contrast: {use: sigmoid, bias: -5}
      itm: {use: itm, negatives: {use: semi_hard, temperature: 2}}
    data:
      sources: {human: {reader: {use: webdataset, path: {from: emoji.human_train}}}}
      image_transform: {use: blip_train, size: 32}
      batch_size: 16
    epochs: 2
    log_every: 1
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("third_party"), SOURCE)


def recipe(folder: Path, **replaced: str) -> str:
    text = RECIPE
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    return "recipe.yaml"


def test_its_components_are_listed_only_while_it_is_installed(installed: Path, tmp_path: Path) -> None:
    listed = mmtk("list-plugins", site=installed, cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    rows = [line.split() for line in listed.stdout.splitlines() if "mmtk-example" in line]
    assert [row[:5] for row in rows] == [
        ["example", "mmtk-example", "1.2.0", "head", "sigmoid"],
        ["example", "mmtk-example", "1.2.0", "negatives", "semi_hard"],
    ]
    assert "broken" not in listed.stdout
    assert "mmtk-example" not in mmtk("list-plugins", site=None, cwd=tmp_path).stdout


def test_a_recipe_with_both_components_trains(installed: Path, tmp_path: Path) -> None:
    ran = mmtk("run", recipe(tmp_path), site=installed, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    folder = tmp_path / "runs" / "third_party" / "train"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 7))  # 48 pairs, two epochs
    for line in lines:
        assert line["loss"] == pytest.approx(line["loss/contrast"] + line["loss/itm"], rel=1e-4)
        assert line["contrast/scale"] == pytest.approx(10, rel=0.1)
    record = json.loads((folder / "stage.json").read_text())
    assert record["status"] == "done"
    assert "mmtk-example 1.2.0" in json.dumps(record["plugins"])
    weights = read_weights(folder / "checkpoint" / "weights.safetensors")
    assert weights["heads.contrast.bias"] == pytest.approx(-5, abs=0.1)
    assert weights["heads.contrast.bias"] != -5


@pytest.mark.parametrize(
    ("mistakes", "expected"),
    [
        (
            {"use: sigmoid": "use: sigmoyd", "temperature: 2": "temprature: 2"},
            ["did you mean 'sigmoid'?", "did you mean 'temperature'?"],
        ),
        (
            {"bias: -5": "biass: -5", "temperature: 2": "temperature: 0", "[activities]": "[activity]"},
            ["did you mean 'bias'?", "(0, inf)", "did you mean 'activities'?"],
        ),
    ],
)
def test_mistakes_in_its_keys_are_told_all_at_once(
    installed: Path, tmp_path: Path, mistakes: dict[str, str], expected: list[str]
) -> None:
    checked = mmtk("check", recipe(tmp_path, **mistakes), site=installed, cwd=tmp_path)
    assert checked.returncode == 2
    assert [words for words in expected if words not in checked.stderr] == []
    assert f"recipe.yaml: {len(expected)} problems" in checked.stderr
    assert "Traceback" not in checked.stderr


def test_without_it_the_recipe_says_what_is_missing(tmp_path: Path) -> None:
    checked = mmtk("check", recipe(tmp_path), site=None, cwd=tmp_path)
    assert checked.returncode == 2
    assert "unknown head 'sigmoid'" in checked.stderr
    assert "unknown negatives 'semi_hard'" in checked.stderr


def test_it_uses_the_public_api_alone() -> None:
    assert imported_from_mmtk(SOURCE) == {"mmtk.api"}


def matching(ids: list[int], keys: list[int]) -> Tensor:
    return torch.tensor(ids)[:, None] == torch.tensor(keys)


@pytest.fixture
def on_path(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(installed))


@pytest.mark.usefixtures("on_path")
def test_the_sigmoid_loss_is_siglips() -> None:
    from mmtk_example.sigmoid import SigmoidHead

    image, text = (nn.functional.normalize(torch.randn(4, 6), dim=1) for _ in range(2))
    ids = [0, 1, 1, 2]
    context: Any = SimpleNamespace(
        image=SimpleNamespace(features=image),
        text=SimpleNamespace(features=text),
        similarities=SimpleNamespace(matching=matching(ids, keys=[*ids, 0, 3])),
    )
    expected = 0.0
    for i in range(4):
        for j in range(4):
            sign = 1 if ids[i] == ids[j] else -1
            expected += math.log1p(math.exp(-sign * (3 * float(image[i] @ text[j]) - 2))) / 4
    output = SigmoidHead(scale=3, bias=-2)(context)
    assert output.loss.item() == pytest.approx(expected, rel=1e-5)
    assert output.metrics["scale"].item() == pytest.approx(3)


@pytest.mark.usefixtures("on_path")
def test_semi_hard_prefers_pairs_less_similar_than_the_true_one() -> None:
    from mmtk_example.semi_hard import SemiHard

    logits = torch.tensor([[2.0, 9, 1, 1], [9, 5, 1, 1], [9, 9, 0, 9], [0, 0, 0, 1]])
    ids = [0, 1, 2, 2]
    sampler, generator = SemiHard(), torch.Generator().manual_seed(0)
    drawn = [sampler(logits, logits.t(), matching(ids, ids), generator) for _ in range(100)]
    images = torch.stack([one.image_for_text for one in drawn])
    assert [set(images[:, row].tolist()) for row in range(4)] == [{2, 3}, {2, 3}, {0, 1}, {0, 1}]
    for one in drawn:
        assert all(ids[text] != ids[image] for image, text in enumerate(one.text_for_image.tolist()))
    same = sampler(logits, logits, torch.ones(4, 4, dtype=torch.bool), generator)
    assert all(0 <= index < 4 for index in same.image_for_text.tolist())


@pytest.mark.usefixtures("on_path")
def test_both_keep_the_promises_of_their_kinds(tmp_path: Path) -> None:
    from mmtk_example.semi_hard import SemiHard
    from mmtk_example.sigmoid import SigmoidHead

    check_head(SigmoidHead(), tiny_model(tmp_path))
    check_negatives(SemiHard())
