"""What the plugin offers: configs, factories that take exactly them, and checks between fields."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmtk_blip import build
from mmtk_blip.configs import MedBertConfig, MedConfig, TimmVitConfig
from mmtk_blip.heads.itc import ItcHead
from mmtk_blip.heads.itm import ItmHead
from mmtk_blip.heads.lm import LmHead
from mmtk_blip.image_encoder import timm_vit
from mmtk_blip.losses import CrossEntropy, LabelSmoothing, SoftContrastive
from mmtk_blip.med import Med
from mmtk_blip.plugin import mmtk_components

from mmtk.kinds import KINDS
from mmtk.registry import Component
from mmtk.types import ComponentNode

from .parts import batch, next_in_batch, state, tokenizer

ROOT = Path(__file__).parents[2]
COMPONENTS = {f"{component.kind}/{component.name}": component for component in mmtk_components()}


def _load(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


def test_names() -> None:
    assert set(COMPONENTS) == {
        "image_encoder/timm_vit",
        "image_encoder/timm_features",
        "text_encoder/med_bert",
        "tokenizer/wordpiece",
        "model/med",
        "head/itc",
        "head/itm",
        "head/lm",
        "head/vqa",
        "text_transform/vqa_pair",
        "loss/soft_contrastive",
        "loss/cross_entropy",
        "loss/label_smoothing",
        "stage/train_wordpiece",
        "weights/blip",
        "weights/timm",
        "weights/bert",
        "importer/blip",
        "importer/transformers",
        "exporter/blip",
        "exporter/transformers",
    }
    assert all(component.summary for component in COMPONENTS.values())


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=COMPONENTS)
def test_factory_takes_its_config_and_what_its_kind_injects(component: Component) -> None:
    fields = {field.name: field for field in dataclasses.fields(_load(component.config))}
    parameters = inspect.signature(_load(component.factory)).parameters
    assert set(parameters) == set(fields) | set(KINDS[component.kind].injected)
    for name, field in fields.items():
        given = parameters[name].default
        if given is not inspect.Parameter.empty:
            made = field.default_factory
            assert given == (field.default if made is dataclasses.MISSING else made())


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=COMPONENTS)
def test_every_field_is_described(component: Component) -> None:
    config = _load(component.config)
    source = inspect.getsource(config)
    for field in dataclasses.fields(config):
        (declared,) = (
            index for index, line in enumerate(source.splitlines()) if line.startswith(f"    {field.name}:")
        )
        assert source.splitlines()[declared + 1].startswith('    """')


def test_listing_and_configs_import_no_torch() -> None:
    script = (
        "import sys, mmtk_blip.plugin, mmtk_blip.configs\n"
        "mmtk_blip.plugin.mmtk_components()\n"
        "print([name for name in ('torch', 'timm', 'tokenizers', 'transformers') if name in sys.modules])"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("config", "problems"),
    [
        (TimmVitConfig(), []),
        (TimmVitConfig(name="vit_tiny_patch16_224", image_size=64), []),
        (TimmVitConfig(width=100, heads=3), [("heads", "3 heads don't divide the width 100")]),
        (TimmVitConfig(image_size=100), [("patch_size", "16 doesn't divide the image size 100")]),
        (
            TimmVitConfig(image_size=60, patch_size=12, stem="conv"),
            [("patch_size", "12 is no power of two above 1, as the conv stem needs")],
        ),
        (
            TimmVitConfig(width=44, heads=4, stem="conv"),
            [("width", "44 is no multiple of 8, as the conv stem needs")],
        ),
        (
            TimmVitConfig(name="vit_tiny_patch16_224", depth=3),
            [("depth", "timm's 'vit_tiny_patch16_224' decides it; leave out either this or name")],
        ),
        (MedBertConfig(), []),
        (MedBertConfig(width=50, heads=12), [("heads", "12 heads don't divide the width 50")]),
    ],
)
def test_checks_between_fields(config: Any, problems: list[tuple[str, str]]) -> None:
    assert list(config.check()) == problems


@pytest.mark.parametrize(("longest", "positions", "fits"), [(30, 64, True), (64, 64, True), (65, 64, False)])
def test_texts_fit_the_positions(longest: int, positions: int, fits: bool) -> None:
    config = MedConfig(
        text_encoder=ComponentNode("text_encoder", "med_bert", {"max_positions": positions}),
        tokenizer=ComponentNode("tokenizer", "wordpiece", {"max_length": longest}),
    )
    expected = [("tokenizer.max_length", f"{longest} is more than the text encoder's {positions} positions")]
    assert list(config.check()) == ([] if fits else expected)


class Made:
    """A blueprint that calls ``factory`` with ``keys`` and what is injected."""

    def __init__(self, factory: Any, **keys: Any) -> None:
        self.factory = factory
        self.keys = keys

    def build(self, **injected: Any) -> Any:
        return self.factory(**self.keys, **injected)


@pytest.fixture
def med() -> Med:
    text = dataclasses.asdict(MedBertConfig(width=16, depth=1, heads=2, hidden_width=32, max_positions=40))
    return build.med(
        image_encoder=Made(timm_vit, image_size=32, patch_size=16, width=24, depth=1, heads=2),
        text_encoder=Made(build.med_bert, **text),
        tokenizer=Made(tokenizer),
        embed_dim=8,
        temperature=0.1,
        learn_temperature=False,
        same_text_matches=True,
    )


def test_med_is_built_to_its_parts_sizes(med: Med) -> None:
    assert med.image_projection.weight.shape == (8, 24)
    assert med.text_projection.weight.shape == (8, 16)
    assert med.text_transformer.cross_attention[0].key.weight.shape == (16, 24)
    assert med.text_transformer.embeddings.word.num_embeddings == tokenizer().vocab_size
    assert med.temperature.item() == pytest.approx(0.1)
    assert not med.temperature.requires_grad
    assert med.same_text_matches
    assert not MedConfig(tokenizer=Made(tokenizer)).same_text_matches


def test_heads_are_built_for_their_model(med: Med) -> None:
    itc = build.itc(loss=Made(SoftContrastive), alpha=0.4, ramp_epochs=0, weight=1.0, model=med)
    itm = build.itm(
        loss=Made(CrossEntropy),
        negatives=Made(lambda: next_in_batch(4)),
        negatives_from="all_ranks",
        weight=0.5,
        model=med,
    )
    assert itm.negatives_from == "all_ranks"
    lm = build.lm(loss=Made(LabelSmoothing, smoothing=0.2), prompt="a picture of ", weight=1.0, model=med)
    assert isinstance(itc, ItcHead)
    assert isinstance(itm, ItmHead)
    assert isinstance(lm, LmHead)
    assert (itm.weight, lm.loss.smoothing) == (0.5, 0.2)
    words = tokenizer()
    assert words.decode(lm.prompt_ids) == "a picture of"
    context = med.context(batch(), state())
    assert all(torch.isfinite(head(context).loss) for head in (itc, itm, lm))


def test_an_empty_prompt_has_no_tokens(med: Med) -> None:
    assert build.lm(loss=Made(LabelSmoothing), prompt="", weight=1.0, model=med).prompt_ids == ()
