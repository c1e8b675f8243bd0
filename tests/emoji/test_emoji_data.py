"""The shipped set is the one its README describes, and what training reads holds none of the truth."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mmtk_emoji.configs import CATEGORIES, SPLITS, EmojiDataConfig
from mmtk_emoji.plugin import mmtk_components
from mmtk_emoji.stage import DATA, EmojiDataStage, read_split, read_truth
from PIL import Image

from mmtk.api import StageContext
from mmtk.data.readers.webdataset import WebDatasetReader
from mmtk.registry import Registry

COUNTS = {
    "human_train": 1020,
    "web_train": 3090,
    "val": 200,
    "test": 447,
    "test_style": 1000,
    "test_novel": 516,
}
NOISE = {None: 1701, "swap": 927, "filename": 154, "foreign": 154, "tags": 154}
LICENCES = {"noto": "Apache-2.0", "twemoji": "CC-BY-4.0", "fluent": "MIT", "openmoji": "CC-BY-SA-4.0"}


@pytest.fixture(scope="module")
def truth() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_truth().to_pylist()
    return rows


def run_stage(folder: Path, categories: tuple[str, ...] | None) -> list[str]:
    said: list[str] = []
    context = StageContext("emoji", folder, 0, "cpu", Registry(), said.append)
    EmojiDataStage(categories=categories).run(context)
    return said


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run_stage(folder, None)
    return folder


def test_the_folder_is_within_the_size_limit() -> None:
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 12e6


def test_the_truth_covers_every_sample_once(truth: list[dict[str, Any]]) -> None:
    assert Counter(row["split"] for row in truth) == COUNTS
    assert len({row["key"] for row in truth}) == sum(COUNTS.values())
    assert len({row["concept"] for row in truth}) == 1802
    assert {row["category"] for row in truth} == set(CATEGORIES)
    for split in SPLITS:
        stored = pq.read_table(DATA / f"{split}.parquet")
        assert stored.column_names == ["key", "image", "text"]
        assert stored["key"].to_pylist() == [row["key"] for row in truth if row["split"] == split]


def test_the_noise_is_the_documented_one(truth: list[dict[str, Any]]) -> None:
    web = [row for row in truth if row["split"] == "web_train"]
    assert Counter(row["noise_kind"] for row in web) == NOISE
    assert sum(not row["clean"] for row in web) / len(web) == pytest.approx(0.4495, abs=1e-4)
    assert all(row["clean"] == (row["noise_kind"] is None) for row in truth)
    assert all(row["clean"] for row in truth if row["split"] != "web_train")


def test_the_texts_of_the_human_splits_are_the_labels(truth: list[dict[str, Any]]) -> None:
    labels = {row["key"]: row["label"] for row in truth}
    for split in set(SPLITS) - {"web_train"}:
        samples = list(read_split(split, labels.keys()))
        assert [sample.texts for sample in samples] == [(labels[sample.key],) for sample in samples]


def test_a_swapped_text_is_another_label_and_never_one_of_test_novel(truth: list[dict[str, Any]]) -> None:
    by_key = {row["key"]: row for row in truth}
    novel = {str(row["label"]) for row in truth if row["split"] == "test_novel"}
    swapped = [
        (by_key[sample.key]["label"], sample.texts[0])
        for sample in read_split("web_train", by_key.keys())
        if by_key[sample.key]["noise_kind"] == "swap"
    ]
    assert len(swapped) == 927
    assert all(text != label and text not in novel for label, text in swapped)


def test_held_out_concepts_are_held_out(truth: list[dict[str, Any]]) -> None:
    concepts = {split: {row["concept"] for row in truth if row["split"] == split} for split in SPLITS}
    styles = {split: {row["style"] for row in truth if row["split"] == split} for split in SPLITS}
    for split in ("val", "test"):
        assert concepts[split] <= concepts["web_train"]
        assert not concepts[split] & concepts["human_train"]
        assert not styles[split] & styles["web_train"]
    assert not concepts["val"] & concepts["test"]
    assert styles["test_style"] == {"openmoji"}
    assert len(concepts["test_novel"]) == 135
    assert all(not concepts["test_novel"] & concepts[split] for split in set(SPLITS) - {"test_novel"})


def test_every_licence_is_named_and_kept(truth: list[dict[str, Any]]) -> None:
    assert all(row["license"] == LICENCES[str(row["style"])] for row in truth)
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    for words in ("CC BY-SA 4.0", "CC BY 4.0", "OpenMoji", "Twitter", "Google", "Microsoft", "**changed**"):
        assert words in readme
    for path in (DATA / "LICENSES").iterdir():
        assert f"LICENSES/{path.name}" in readme
        assert len(path.read_text(encoding="utf-8")) > 1000
    assert len(json.loads((DATA / "labels-de.json").read_text(encoding="utf-8"))) == 1715


def test_every_picture_decodes_to_64_by_64() -> None:
    for split in SPLITS:
        for data in pq.read_table(DATA / f"{split}.parquet")["image"].to_pylist():
            with Image.open(BytesIO(data)) as image:
                assert (image.format, image.size) == ("WEBP", (64, 64))


def test_the_stage_writes_what_the_reader_reads_back(whole: Path, truth: list[dict[str, Any]]) -> None:
    for split in SPLITS:
        reader = WebDatasetReader(whole / split)
        assert len(reader) == COUNTS[split]
        assert reader.quarantined == []
        for index in (0, len(reader) - 1):
            sample = reader[index]
            (stored,) = read_split(split, {sample.key})
            assert (sample.image, sample.texts) == (stored.image, stored.texts)
            assert sample.image_id == sample.key
            assert sample.source == ("web" if split == "web_train" else "human")
    assert len(list((whole / "web_train").glob("*.tar"))) == 4
    assert pq.read_table(whole / "truth.parquet").to_pylist() == truth


def test_the_declared_outputs_are_the_written_ones(whole: Path) -> None:
    outputs = EmojiDataConfig.OUTPUTS
    assert {output.path for output in outputs.values()} == {path.name for path in whole.iterdir()}
    assert {name: output.artifact for name, output in outputs.items()} == {
        **dict.fromkeys(SPLITS, "dataset"),
        "truth": "truth",
    }


def test_no_shard_holds_any_truth(whole: Path) -> None:
    for shard in whole.glob("*/*.tar"):
        with tarfile.open(shard) as tar:
            for member in tar:
                assert member.name.rpartition(".")[2] in {"webp", "txt", "json"}
                if not member.name.endswith(".json"):
                    continue
                file = tar.extractfile(member)
                assert file is not None
                assert json.load(file).keys() == {"image_id", "source"}


def test_categories_restrict_every_split(tmp_path: Path, truth: list[dict[str, Any]]) -> None:
    said = run_stage(tmp_path, ("food-drink", "animals-nature"))
    wanted = [row for row in truth if row["category"] in ("food-drink", "animals-nature")]
    assert pq.read_table(tmp_path / "truth.parquet").to_pylist() == wanted
    for split in SPLITS:
        reader = WebDatasetReader(tmp_path / split)
        keys = [reader[index].key for index in range(len(reader))]
        assert keys == [row["key"] for row in wanted if row["split"] == split]
    (line,) = said
    assert "web_train 544" in line


@pytest.mark.parametrize("category", CATEGORIES)
def test_no_category_leaves_a_split_empty(category: str, truth: list[dict[str, Any]]) -> None:
    assert {row["split"] for row in truth if row["category"] == category} == set(SPLITS)


def test_running_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    def shards() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.glob("*/*.tar")}

    run_stage(tmp_path, ("flags", "food-drink"))
    run_stage(tmp_path, ("flags",))
    first = shards()
    run_stage(tmp_path, ("flags",))
    assert len(first) == len(SPLITS)
    assert shards() == first


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        (None, []),
        (("flags",), []),
        ((), [("categories", "names no category; null keeps all")]),
        (
            ("flags", "animal-nature"),
            [("categories.1", "unknown category 'animal-nature'; did you mean 'animals-nature'?")],
        ),
    ],
)
def test_a_wrong_category_is_named_with_the_nearest_right_one(
    categories: tuple[str, ...] | None, expected: list[tuple[str, str]]
) -> None:
    assert list(EmojiDataConfig(categories=categories).check()) == expected


def test_a_category_like_no_other_lists_them_all() -> None:
    ((_place, message),) = EmojiDataConfig(categories=("zzz",)).check()
    assert all(category in message for category in CATEGORIES)


def test_the_plugin_names_what_exists() -> None:
    (component,) = mmtk_components()
    assert (component.kind, component.name) == ("stage", "emoji_data")
    assert component.factory == f"{EmojiDataStage.__module__}:{EmojiDataStage.__name__}"
    assert component.config == f"{EmojiDataConfig.__module__}:{EmojiDataConfig.__name__}"
