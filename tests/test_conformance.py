"""Every component that comes with mmtk keeps its kind's promises, by the checks that plugin authors run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers

from mmtk import testing
from mmtk.api import DEFAULT_LIMITS, ShardWriter, load_plugins
from mmtk.engine.checkpoint import LearnerNodes, save_learner
from mmtk.recipe.build import from_plain
from mmtk.testing import tiny_blueprint, tiny_model, tiny_sample, tiny_tokenizer_keys

SMALL = {"width": 32, "heads": 2, "hidden_width": 64, "max_positions": 24}
PROBE = {"width": 32, "depth": 1, "heads": 2, "image_size": 32, "patch_size": 16}
ANSWERS = ("what is red? a cat", "who sits there? the big blue dog", "what is it? a house")

ALBEF = {"use": "albef", "text_encoder": {"use": "albef_bert", "text_depth": 1, "fusion_depth": 1, **SMALL}}
QUESTIONS = {"use": "med_bert", "depth": 1, **SMALL, "decoder_reads": "question", "sharing": "none"}
MODELS: Mapping[str, Mapping[str, Any]] = {"mlm": ALBEF, "vqa": {"text_encoder": QUESTIONS}}

# Keys without which a component can't be built, or is too large; what starts with $ is written first.
KEYS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("image_encoder", "timm_vit"): PROBE,
    ("image_encoder", "timm_features"): {"name": "resnet10t", "width": 32},
    ("text_encoder", "med_bert"): {**SMALL, "depth": 1},
    ("text_encoder", "albef_bert"): {**SMALL, "text_depth": 1, "fusion_depth": 1},
    ("momentum", "ema"): {"queue_size": 6, "momentum": 0.9},
    ("reader", "webdataset"): {"path": "$shards"},
    ("reader", "fold"): {"reader": {"use": "webdataset", "path": "$shards"}, "folds": 2, "fold": 0},
    ("stream", "webdataset_stream"): {"path": "$shards"},
    ("image_transform", "blip_train"): {"size": 24},
    ("image_transform", "blip_test"): {"size": 24},
    # What nucleus sampling draws depends on the batch, which the pass keeps the same.
    ("capfilt_step", "caption"): {"checkpoint": "$learner", "decoding": {"method": "beam"}},
    ("capfilt_step", "itm_filter"): {"checkpoint": "$learner"},
    ("capfilt_step", "itc_filter"): {"checkpoint": "$learner", "threshold": 0.1},
    ("capfilt_step", "by_fold"): {
        "steps": [{"use": "length_filter"}, {"use": "length_filter", "min_words": 3}]
    },
    ("capfilt_step", "decontaminate"): {"against": {"test": {"use": "webdataset", "path": "$shards"}}},
    ("capfilt_step", "language_filter"): {"languages": ["en"]},
    ("executor", "local"): {},
}
CHECKED = {
    "image_encoder": testing.check_image_encoder,
    "text_encoder": testing.check_text_encoder,
    "loss": testing.check_loss,
    "negatives": testing.check_negatives,
    "reader": testing.check_reader,
    "stream": testing.check_stream,
    "image_transform": testing.check_image_transform,
    "text_transform": testing.check_text_transform,
    "optimizer": testing.check_optimizer,
    "schedule": testing.check_schedule,
    "activation_checkpointing": testing.check_activation_checkpointing,
    "capfilt_step": testing.check_capfilt_step,
    "strategy": testing.check_strategy,  # on one rank; tests/test_strategies.py does it on two
}
# What the tests below these check, or other files: tests/eval, tests/capfilt and tests/host/report.
ELSEWHERE = {
    "exporter", "importer", "model", "momentum", "head", "logger", "metric", "report_section", "stage",
    "tokenizer", "weights", "executor",
}  # fmt: skip
TABLES = {"blip_json", "csv", "hf_dataset", "jsonl", "parquet"}  # tests/host/data/readers writes their files


def components() -> list[tuple[str, str]]:
    plugins = [plugin for plugin in load_plugins().plugins if plugin.distribution == "mmtk"]
    return sorted({(one.kind, one.name) for plugin in plugins for one in plugin.components})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files that components take: shards and a checkpoint."""
    folder = tmp_path_factory.mktemp("written")
    (folder / "shards").mkdir()
    with ShardWriter(folder / "shards", "pairs", samples_per_shard=4) as writer:
        for number in range(7):
            writer.write(tiny_sample(number))
    registry = testing.tiny_registry()
    learner = testing.tiny_learner(folder)
    model = from_plain("model", testing.tiny_model_keys(folder), registry)
    heads = {name: from_plain("head", {"use": name}, registry) for name in ("itc", "itm", "lm")}
    save_learner(learner.state_dict(), LearnerNodes(model, heads), folder / "learner")
    return {"$shards": str(folder / "shards"), "$learner": str(folder / "learner")}


def placed(value: Any, written: Mapping[str, str]) -> Any:
    """Keys with the files that they name."""
    if isinstance(value, Mapping):
        return {name: placed(item, written) for name, item in value.items()}
    if isinstance(value, list):
        return [placed(item, written) for item in value]
    return written.get(value, value) if isinstance(value, str) else value


def test_every_component_is_checked_here_or_known_to_be_checked_elsewhere() -> None:
    assert {kind for kind, _ in components()} <= CHECKED.keys() | ELSEWHERE
    assert KEYS.keys() <= set(components())


@pytest.mark.parametrize(
    ("kind", "name"),
    [one for one in components() if one[0] in CHECKED and one[1] not in TABLES],
    ids=lambda part: part,
)
def test_a_component_keeps_its_kinds_promises(kind: str, name: str, written: dict[str, str]) -> None:
    keys = placed(KEYS.get((kind, name), {}), written)
    torch.manual_seed(0)
    injected = {
        "vocab_size": 18, "image_width": 32, "device": "cpu", "registry": testing.tiny_registry(),
        "data_limits": DEFAULT_LIMITS,
    }  # fmt: skip
    component = tiny_blueprint(kind, name, **keys).build(**injected)
    arguments: dict[str, Any] = {}
    if name == "soft_contrastive":
        arguments["targets"] = torch.softmax(torch.randn(5, 7), dim=1)
    if name == "vqa_pair":
        arguments["texts"] = ANSWERS
    check: Callable[..., None] = CHECKED[kind]
    check(component, **arguments)


@pytest.mark.parametrize("use", ["med", "albef"])
def test_models(use: str, tmp_path: Path) -> None:
    testing.check_model(tiny_model(tmp_path, **(ALBEF if use == "albef" else {})))


@pytest.mark.parametrize("use", ["itc", "itm", "lm", "vqa", "mlm"])
def test_heads(use: str, tmp_path: Path) -> None:
    model = tiny_model(tmp_path, **MODELS.get(use, {}))
    batch = testing.tiny_batch(5)
    if use == "vqa":
        batch = type(batch)(batch.images[:3], ANSWERS, batch.image_ids[:3], batch.keys[:3])
    keys = {"probability": 0.5} if use == "mlm" else {}  # of the few words of tiny_batch
    testing.check_head(tiny_blueprint("head", use, **keys).build(model=model), model, batch)


def test_momentum(tmp_path: Path) -> None:
    model = tiny_model(tmp_path)
    testing.check_momentum(
        tiny_blueprint("momentum", "ema", **KEYS["momentum", "ema"]).build(model=model), model
    )


def test_the_tokenizer(tmp_path: Path) -> None:
    keys = tiny_tokenizer_keys(tmp_path)
    (tmp_path / "saved").mkdir()
    testing.check_tokenizer(tiny_blueprint("tokenizer", **keys).build(), tmp_path / "saved")


@pytest.mark.parametrize("use", ["jsonl", "tensorboard"])
def test_loggers(use: str, tmp_path: Path) -> None:
    testing.check_logger(lambda folder: tiny_blueprint("logger", use).build(folder=folder), tmp_path)


@pytest.mark.parametrize("use", ["retrieval", "captioning"])
def test_metrics(use: str, tmp_path: Path) -> None:
    learner = testing.tiny_learner(tmp_path)
    testing.check_metric(tiny_blueprint("metric", use).build(), learner, folder=tmp_path / "stage")


def test_the_local_executor(tmp_path: Path) -> None:
    testing.check_executor(tiny_blueprint("executor", "local").build(), tmp_path)


FORMATS = ("blip", "transformers")


def written_as(form: str, folder: Path) -> Path:
    """A tiny learner with the head ``lm`` in another program's format."""
    (folder / "source").mkdir()
    source = testing.tiny_export_source(folder / "source", {"lm": {"use": "lm"}})
    target = folder / ("learner.pth" if form == "blip" else "learner")
    tiny_blueprint("exporter", form).build()(source, target)
    return target


def importer(form: str, vocabulary: Path) -> Any:
    sizes = {"heads": 2, "image_heads": 2} if form == "blip" else {}
    return tiny_blueprint("importer", form, vocab=str(vocabulary), **sizes).build()


@pytest.mark.parametrize("form", FORMATS)
def test_importers(form: str, tmp_path: Path) -> None:
    tiny_blueprint("importer", form).build()  # every key has a default
    source = written_as(form, tmp_path)
    (tmp_path / "checked").mkdir()
    testing.check_importer(importer(form, tmp_path / "source" / "vocab.txt"), source, tmp_path / "checked")


@pytest.mark.parametrize("form", FORMATS)
def test_exporters(form: str, tmp_path: Path) -> None:
    exporter = tiny_blueprint("exporter", form).build()
    (tmp_path / "all").mkdir()
    testing.check_exporter(exporter, tmp_path / "all")
    source = testing.tiny_export_source(tmp_path, {"lm": {"use": "lm"}})
    (tmp_path / "back").mkdir()
    testing.check_exporter(
        exporter,
        tmp_path / "back",
        source,
        importer=importer(form, tmp_path / "vocab.txt"),
        target="learner.pth" if form == "blip" else "learner",
    )


def test_sources_of_weights(tmp_path: Path, written: dict[str, str]) -> None:
    learner = testing.tiny_learner(tmp_path)
    for use, path in (
        ("blip/blip", written_as("blip", tmp_path)),
        ("checkpoint", written["$learner"]),
        ("timm", vit_file(tmp_path)),
        ("bert", bert_folder(tmp_path)),
    ):
        testing.check_weights(tiny_blueprint("weights", use, path=str(path)).build(), learner)


def vit_file(folder: Path) -> Path:
    """A ViT of timm's of the tiny image encoder's sizes."""
    vit = timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=16, embed_dim=32, depth=1, num_heads=2
    )
    torch.save(vit.state_dict(), folder / "vit.pth")
    return folder / "vit.pth"


def bert_folder(folder: Path) -> Path:
    """A BERT of the tiny text transformer's sizes, with its vocabulary."""
    config = transformers.BertConfig(
        vocab_size=18, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=24,
    )  # fmt: skip
    transformers.BertForMaskedLM(config).save_pretrained(folder / "bert")
    shutil.copy(folder / "vocab.txt", folder / "bert" / "vocab.txt")
    return folder / "bert"
