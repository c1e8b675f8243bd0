"""A run with tiny untrained models, as training stages leave it, for the commands that use one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mmtk.engine.checkpoint import LearnerNodes, TransformNodes, build_learner, save_learner
from mmtk.plugins import load_plugins
from mmtk.recipe.build import from_plain
from mmtk.registry import Registry
from mmtk.stages.record import StageRecord, Status, write_record

WORDS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "the", "red", "blue", "cat", "dog", "of", "picture", "on"),
    *map(str, range(10)),
]
FEATURES: dict[str, Any] = {"use": "timm_features", "name": "resnet10t", "out_index": -2, "width": 16}
VIT: dict[str, Any] = {
    "use": "timm_vit", "image_size": 32, "patch_size": 16, "width": 16, "depth": 1, "heads": 2
}  # fmt: skip
MEAN, STD = [0.5, 0.4, 0.3], [0.3, 0.2, 0.25]


def save_checkpoint(
    folder: Path, heads: tuple[str, ...], seed: int, *, encoder: dict[str, Any] = VIT, transforms: bool = True
) -> None:
    """Write a MED whose weights are spread, so that scores of different pictures differ."""
    registry = load_plugins().registry
    vocabulary = folder.with_name("vocab.txt")
    vocabulary.parent.mkdir(parents=True, exist_ok=True)
    vocabulary.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    model = {
        "use": "med",
        "image_encoder": encoder,
        "text_encoder": {
            "use": "med_bert", "width": 16, "depth": 1, "heads": 2, "hidden_width": 32, "max_positions": 32
        },
        "tokenizer": {"use": "wordpiece", "vocab": str(vocabulary)},
        "embed_dim": 8,
    }  # fmt: skip
    nodes = LearnerNodes(
        from_plain("model", model, registry),
        {name: from_plain("head", {"use": name}, registry) for name in heads},
    )
    torch.manual_seed(seed)
    learner = build_learner(nodes, registry)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    save_learner(learner.state_dict(), nodes, folder, training_transforms(registry) if transforms else None)


def training_transforms(registry: Registry) -> TransformNodes:
    return TransformNodes(
        from_plain("image_transform", {"use": "blip_train", "size": 32, "mean": MEAN, "std": STD}, registry),
        from_plain("text_transform", {"use": "blip_caption", "max_words": 5}, registry),
    )


def make_run(folder: Path) -> Path:
    """Three finished training stages, the last without a matching head, and one that was interrupted."""
    stages = {"pretrain": ("itc", "itm", "lm"), "filter": ("itc", "itm"), "captioner": ("lm",)}
    for number, (name, heads) in enumerate(stages.items()):
        save_checkpoint(folder / name / "checkpoint", heads, number)
        finished = f"2026-01-0{number + 1}"
        write_record(folder / name, StageRecord(Status.DONE, "f", {"use": "train"}, 0, finished=finished))
    save_checkpoint(folder / "unfinished" / "checkpoint", ("itc", "itm", "lm"), 9)
    write_record(folder / "unfinished", StageRecord(Status.RUNNING, "f", {"use": "train"}, 0))
    return folder
