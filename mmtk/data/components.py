"""The host's own data components."""

from __future__ import annotations

from mmtk.registry import Component

CONFIGS = "mmtk.data.configs"
READERS = "mmtk.data.readers.configs"

COMPONENTS: list[Component] = [
    Component(
        "reader",
        "webdataset",
        "mmtk.data.readers.webdataset:WebDatasetReader",
        f"{READERS}:WebDatasetConfig",
        "image-text pairs in WebDataset tar shards",
    ),
    Component(
        "reader",
        "blip_json",
        "mmtk.data.readers.blip_json:BlipJsonReader",
        f"{READERS}:BlipJsonConfig",
        "image-text pairs in BLIP's JSON lists",
    ),
    Component(
        "reader",
        "jsonl",
        "mmtk.data.readers.line_tables:jsonl_reader",
        f"{READERS}:JsonlConfig",
        "image-text pairs in JSON lines, with a folder of pictures",
    ),
    Component(
        "reader",
        "csv",
        "mmtk.data.readers.line_tables:csv_reader",
        f"{READERS}:CsvConfig",
        "image-text pairs in CSV and TSV files, with a folder of pictures",
    ),
    Component(
        "reader",
        "parquet",
        "mmtk.data.readers.parquet:ParquetReader",
        f"{READERS}:ParquetConfig",
        "image-text pairs in Parquet files, with the pictures in a column or a folder",
    ),
    Component(
        "reader",
        "hf_dataset",
        "mmtk.data.readers.hf_dataset:HfDatasetReader",
        f"{READERS}:HfDatasetConfig",
        "image-text pairs in a dataset that the library datasets saved to disk",
    ),
    Component(
        "reader",
        "fold",
        "mmtk.data.readers.fold:fold_reader",
        f"{READERS}:FoldConfig",
        "a part of another reader's samples, for cross-fitting",
    ),
    Component(
        "stream",
        "webdataset_stream",
        "mmtk.data.readers.webdataset_stream:WebDatasetStream",
        f"{READERS}:WebDatasetStreamConfig",
        "image-text pairs in WebDataset tar shards that are read in one pass, local or remote",
    ),
    Component(
        "image_transform",
        "blip_train",
        "mmtk.data.images.transforms:BlipTrain",
        f"{CONFIGS}:BlipTrainConfig",
        "BLIP's random crop, flip and RandAugment, with further augmentation for small data",
    ),
    Component(
        "image_transform",
        "blip_test",
        "mmtk.data.images.transforms:BlipTest",
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
