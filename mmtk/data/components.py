"""The host's own data components."""

from __future__ import annotations

from mmtk.registry import Component

CONFIGS = "mmtk.data.configs"

COMPONENTS: list[Component] = [
    Component(
        "reader",
        "webdataset",
        "mmtk.data.webdataset:WebDatasetReader",
        f"{CONFIGS}:WebDatasetConfig",
        "image-text pairs in WebDataset tar shards",
    ),
    Component(
        "reader",
        "blip_json",
        "mmtk.data.blip_json:BlipJsonReader",
        f"{CONFIGS}:BlipJsonConfig",
        "image-text pairs in BLIP's JSON lists",
    ),
    Component(
        "reader",
        "fold",
        "mmtk.data.fold:fold_reader",
        f"{CONFIGS}:FoldConfig",
        "a part of another reader's samples, for cross-fitting",
    ),
    Component(
        "stream",
        "webdataset_stream",
        "mmtk.data.webdataset_stream:WebDatasetStream",
        f"{CONFIGS}:WebDatasetStreamConfig",
        "image-text pairs in WebDataset tar shards that are read in one pass, local or remote",
    ),
    Component(
        "image_transform",
        "blip_train",
        "mmtk.data.transforms:BlipTrain",
        f"{CONFIGS}:BlipTrainConfig",
        "BLIP's random crop, flip and RandAugment, with further augmentation for small data",
    ),
    Component(
        "image_transform",
        "blip_test",
        "mmtk.data.transforms:BlipTest",
        f"{CONFIGS}:BlipTestConfig",
        "BLIP's square resize",
    ),
    Component(
        "text_transform",
        "blip_caption",
        "mmtk.data.texts:BlipCaption",
        f"{CONFIGS}:BlipCaptionConfig",
        "BLIP's caption cleaning",
    ),
]
