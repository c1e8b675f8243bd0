from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import mmtk_capfilt.caption as module
import pyarrow.parquet as pq
import pytest
from mmtk_capfilt.caption import CaptionStage
from mmtk_capfilt.configs import CaptionDecoding

from mmtk.engine.learner import Learner
from mmtk.errors import CheckpointError, DataError
from mmtk.types import Quarantined, RawSample
from tests.small_learner import (
    ListReader,
    SmallCaptioning,
    SmallMatching,
    data_config,
    sample,
    small_learner,
    stage_context,
)


@pytest.fixture(autouse=True)
def learner(monkeypatch: pytest.MonkeyPatch) -> Learner:
    small = small_learner()
    monkeypatch.setattr(module, "load_learner", lambda *_: small)
    return small


def stage(reader: ListReader, *, part_size: int = 4, **keys: Any) -> CaptionStage:
    decoding = keys.pop("decoding", CaptionDecoding())
    data = data_config(reader, **keys)
    return CaptionStage(checkpoint=Path("checkpoint"), data=data, decoding=decoding, part_size=part_size)


def mixed_reader() -> ListReader:
    """Ten samples, of which two can't be read, and one that the index refused."""
    samples: list[RawSample | DataError] = [sample(n, image_id=f"image {n}") for n in range(10)]
    samples[2] = DataError("torn page")
    samples[7] = RawSample("k7", b"no image", ("a text",), "image 7", "web", "memory")
    return ListReader(samples, (Quarantined("k10", "no image", "memory"),))


def rows(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "captions.parquet").to_pylist()


def quarantined(folder: Path) -> dict[str, str]:
    lines = (folder / "quarantine.jsonl").read_text("utf-8").splitlines()
    return {entry["key"]: entry["reason"] for entry in map(json.loads, lines)}


def test_every_image_is_captioned_or_quarantined(tmp_path: Path) -> None:
    stage(mixed_reader()).run(stage_context(tmp_path))
    captions = rows(tmp_path)
    assert [row["key"] for row in captions] == ["k0", "k1", "k3", "k4", "k5", "k6", "k8", "k9"]
    assert [row["image_id"] for row in captions][:3] == ["image 0", "image 1", "image 3"]
    assert all(row["text"].startswith("picture ") for row in captions)
    failed = quarantined(tmp_path)
    assert set(failed) == {"sample 2", "k7", "k10"}
    assert failed["sample 2"] == "torn page"
    assert failed["k10"] == "no image"


def test_an_image_needs_no_text(tmp_path: Path) -> None:
    stage(ListReader([sample(0, ""), sample(1, "???")])).run(stage_context(tmp_path))
    assert [row["key"] for row in rows(tmp_path)] == ["k0", "k1"]


def test_sampling_depends_on_the_seed_alone(tmp_path: Path) -> None:
    for name, seed, workers in (("a", 0, 0), ("b", 0, 2), ("c", 1, 0)):
        stage(mixed_reader(), workers=workers).run(stage_context(tmp_path / name, seed=seed))
    first, second, third = ((tmp_path / name / "captions.parquet").read_bytes() for name in "abc")
    assert first == second
    assert first != third


def test_batches_draw_different_numbers(tmp_path: Path) -> None:
    stage(ListReader([sample(n) for n in range(12)]), part_size=6).run(stage_context(tmp_path))
    texts = [row["text"] for row in rows(tmp_path)]
    batches = {tuple(texts[i : i + 3]) for i in range(0, 12, 3)}
    assert len(batches) == 4


def test_parts_do_not_change_what_is_written_without_sampling(tmp_path: Path) -> None:
    for name, part_size in (("a", 3), ("b", 100)):
        decoding = CaptionDecoding(method="beam")
        stage(mixed_reader(), part_size=part_size, decoding=decoding).run(stage_context(tmp_path / name))
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_the_decoding_reaches_the_head(learner: Learner, tmp_path: Path) -> None:
    decoding = CaptionDecoding(top_p=0.5, prompt="a picture of")
    stage(ListReader([sample(0)]), decoding=decoding).run(stage_context(tmp_path))
    assert learner.heads["lm"].decodings == [decoding]
    assert CaptionDecoding().method == "nucleus"
    assert CaptionDecoding().top_p == 0.9


def test_an_interrupted_stage_goes_on_behind_its_last_whole_part(
    learner: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(mixed_reader()).run(stage_context(tmp_path / "whole"))
    head = learner.heads["lm"]
    generate, calls = SmallCaptioning.generate, 0

    def killed(*args: Any) -> list[str]:
        nonlocal calls
        calls += 1
        if calls == 3:  # the second part
            raise KeyboardInterrupt
        return generate(head, *args)

    monkeypatch.setattr(head, "generate", killed)
    with pytest.raises(KeyboardInterrupt):
        stage(mixed_reader()).run(stage_context(tmp_path / "torn"))
    assert not (tmp_path / "torn" / "captions.parquet").exists()
    monkeypatch.undo()
    monkeypatch.setattr(module, "load_learner", lambda *_: learner)
    reader = mixed_reader()
    stage(reader).run(stage_context(tmp_path / "torn"))
    assert min(reader.reads) == 4
    for name in ("captions.parquet", "quarantine.jsonl"):
        assert (tmp_path / "torn" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_too_many_unreadable_images_end_the_stage(tmp_path: Path) -> None:
    strict = stage(mixed_reader(), part_size=20)
    strict._data = dataclasses.replace(strict._data, max_quarantined=1)
    with pytest.raises(
        DataError, match=r"2 samples can't be used, and max_quarantined is 1: torn page 1, unrea"
    ):
        strict.run(stage_context(tmp_path))


def test_a_checkpoint_that_can_not_caption_is_refused_before_any_image_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "load_learner", lambda *_: small_learner(itm=SmallMatching()))
    reader = mixed_reader()
    with pytest.raises(CheckpointError, match="itm"):
        stage(reader).run(stage_context(tmp_path))
    assert reader.reads == []


def test_progress_is_told(tmp_path: Path) -> None:
    lines: list[str] = []
    stage(mixed_reader()).run(stage_context(tmp_path, lines=lines))
    assert lines == [
        "captioned 4 of 10 images",
        "captioned 8 of 10 images",
        "captioned 10 of 10 images",
        "8 captions; 3 images could not be read",
    ]
