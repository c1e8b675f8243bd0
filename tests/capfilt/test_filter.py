from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mmtk_capfilt.filter as module
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmtk_capfilt.filter import FilterStage, candidates, read_captions, score
from mmtk_capfilt.ledger import SCHEMA, funnel, read_ledger

from mmtk.data.texts import BlipCaption
from mmtk.engine.learner import Learner
from mmtk.errors import CheckpointError, DataError, StageError
from mmtk.types import Quarantined, RawSample
from tests.small_learner import (
    ListReader,
    SmallCaptioning,
    SmallMatching,
    data_config,
    match_logit,
    sample,
    small_learner,
    stage_context,
    text_point,
)


@pytest.fixture(autouse=True)
def learner(monkeypatch: pytest.MonkeyPatch) -> Learner:
    small = small_learner()
    monkeypatch.setattr(module, "load_learner", lambda *_: small)
    return small


def use(monkeypatch: pytest.MonkeyPatch, logits: dict[str, float]) -> Learner:
    """Load a learner whose matching head gives each text one logit."""
    small = small_learner(itm=SmallMatching(lambda _, text: logits[text]))
    monkeypatch.setattr(module, "load_learner", lambda *_: small)
    return small


def write_captions(path: Path, captions: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"key": key, "image_id": key, "text": text} for key, text in captions.items()]
    schema = pa.schema([(name, pa.string()) for name in ("key", "image_id", "text")])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def run(
    folder: Path,
    reader: ListReader,
    captions: dict[str, str] | None = None,
    *,
    threshold: float = 0.5,
    synthetic_threshold: float | None = None,
    part_size: int = 4,
    **keys: Any,
) -> list[dict[str, Any]]:
    path = None if captions is None else write_captions(folder / "in" / "captions.parquet", captions)
    stage = FilterStage(
        checkpoint=Path("checkpoint"),
        data=data_config(reader, **keys),
        captions=path,
        threshold=threshold,
        synthetic_threshold=synthetic_threshold,
        part_size=part_size,
    )
    stage.run(stage_context(folder))
    rows: list[dict[str, Any]] = read_ledger(folder / "ledger.parquet").to_pylist()
    return rows


def test_both_texts_of_an_image_are_scored(learner: Learner, tmp_path: Path) -> None:
    rows = run(
        tmp_path, ListReader([sample(0, "Free Cat PNG!"), sample(1, "dog")]), {"k0": "a cat", "k1": "a dog"}
    )
    assert [(row["key"], row["source"], row["text"]) for row in rows] == [
        ("k0", "web", "Free Cat PNG!"),
        ("k0", "synthetic", "a cat"),
        ("k1", "web", "dog"),
        ("k1", "synthetic", "a dog"),
    ]
    embeds = torch.tensor(learner.model.encoded)
    cleaned = ["free cat png", "a cat", "dog", "a dog"]
    for row, embed, text in zip(rows, embeds.repeat_interleave(2, 0), cleaned, strict=True):
        logit = match_logit(embed, text)
        cosine = torch.cosine_similarity(embed, text_point(text), dim=0)
        assert row["itm_probability"] == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-5)
        assert row["itc_similarity"] == pytest.approx(float(cosine), rel=1e-4, abs=1e-6)


def test_every_image_is_encoded_once(learner: Learner, tmp_path: Path) -> None:
    samples = [sample(n, f"web {n}", f"more {n}") for n in range(7)]
    run(tmp_path, ListReader(samples), {f"k{n}": f"synthetic {n}" for n in range(7)})
    assert len(learner.model.encoded) == len(set(learner.model.encoded)) == 7


def test_a_text_is_kept_from_the_threshold_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, {"even": 0.0, "below": -1e-6, "above": 0.1})
    rows = run(tmp_path, ListReader([sample(0, "even"), sample(1, "below"), sample(2, "above")]))
    assert [row["kept"] for row in rows] == [True, False, True]
    assert [row["reason"] for row in rows] == ["", "itm_probability below 0.5", ""]


@pytest.mark.parametrize(("threshold", "kept"), [(0.0, 3), (0.3, 2), (0.7, 1), (1.0, 0)])
def test_the_threshold_decides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, threshold: float, kept: int
) -> None:
    use(monkeypatch, {"no": -3.0, "maybe": 0.0, "yes": 3.0})
    rows = run(tmp_path, ListReader([sample(0, "no", "maybe", "yes")]), threshold=threshold)
    assert sum(row["kept"] for row in rows) == kept
    for row in rows:
        assert row["kept"] == (row["itm_probability"] >= threshold) == (row["reason"] == "")


def test_synthetic_texts_can_have_a_threshold_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(monkeypatch, {"web": 0.0, "synthetic": 0.0, "sure": 3.0})
    samples = ListReader([sample(0, "web"), sample(1, "web")])
    rows = run(tmp_path, samples, {"k0": "synthetic", "k1": "sure"}, threshold=0.4, synthetic_threshold=0.9)
    assert [(row["text"], row["reason"]) for row in rows] == [
        ("web", ""),
        ("synthetic", "itm_probability below 0.9"),
        ("web", ""),
        ("sure", ""),
    ]


def test_without_captions_the_web_texts_alone_are_filtered(tmp_path: Path) -> None:
    rows = run(tmp_path, ListReader([sample(0), sample(1)]))
    assert {row["source"] for row in rows} == {"web"}
    assert funnel(read_ledger(tmp_path / "ledger.parquet"))["captioned"] == 0


def test_a_caption_that_says_the_same_as_the_web_text_is_dropped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    learner = use(monkeypatch, {"a cat": 2.0})
    rows = run(tmp_path, ListReader([sample(0, "A  Cat!")]), {"k0": "a cat"})
    assert [(row["kept"], row["reason"]) for row in rows] == [(True, ""), (False, "same as the web text")]
    assert rows[0]["itm_probability"] == rows[1]["itm_probability"]
    assert learner.heads["itm"].pairs == [["a cat"]]


def test_texts_of_which_nothing_is_left_are_dropped_with_their_reason(tmp_path: Path) -> None:
    rows = run(
        tmp_path, ListReader([sample(0, "***"), sample(1, "fine")]), {"k0": "", "k1": "good"}, threshold=0
    )
    assert [row["kept"] for row in rows] == [False, False, True, True]
    assert all("empty text" in row["reason"] for row in rows[:2])
    assert rows[0]["itm_probability"] is None
    assert rows[0]["itc_similarity"] is None


def test_images_that_can_not_be_read_are_rows(tmp_path: Path) -> None:
    broken = RawSample("k1", b"no image", ("a text",), "image 1", "web", "memory")
    reader = ListReader(
        [sample(0), broken, DataError("torn page")], (Quarantined("k9", "no text", "memory"),)
    )
    rows = run(tmp_path, reader, {"k0": "caption"})
    failed = [row for row in rows if row["source"] == "image"]
    assert [row["key"] for row in failed] == ["sample 2", "k1", "k9"]
    assert failed[0]["reason"] == "torn page"
    assert all(row["text"] == "" and row["itm_probability"] is None and not row["kept"] for row in failed)
    assert funnel(read_ledger(tmp_path / "ledger.parquet")) | {"kept_web": 0, "dropped_web": 0} == {
        "images": 4,
        "captioned": 1,
        "candidates": 2,
        "kept_web": 0,
        "dropped_web": 0,
        "kept_synthetic": int(rows[1]["kept"]),
        "dropped_synthetic": int(not rows[1]["kept"]),
        "quarantined": 3,
    }


def test_captions_of_other_images_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"captions of 2 images that the reader lacks, such as 'elsewhere'"):
        run(tmp_path, ListReader([sample(0)]), {"k0": "a", "other": "b", "elsewhere": "c"})


def test_captions_of_images_that_can_not_be_read_any_more_are_no_error(tmp_path: Path) -> None:
    broken = RawSample("k1", b"no image", ("a text",), "image 1", "web", "memory")
    rows = run(tmp_path, ListReader([sample(0), broken]), {"k0": "a", "k1": "b"})
    assert [row["source"] for row in rows] == ["web", "synthetic", "image"]


def test_two_captions_of_one_image_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "captions.parquet"
    pq.write_table(pa.table({"key": ["a", "a"], "text": ["x", "y"]}), path)
    with pytest.raises(StageError, match="2 captions of 1 images"):
        read_captions(path)


def test_scores_that_are_not_finite_are_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, {"text 0": float("nan")})
    with pytest.raises(StageError, match="not finite"):
        run(tmp_path, ListReader([sample(0)]))


def test_a_checkpoint_that_can_not_match_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "load_learner", lambda *_: small_learner(lm=SmallCaptioning()))
    with pytest.raises(CheckpointError, match="lm"):
        run(tmp_path, ListReader([sample(0)]))


def test_an_interrupted_stage_ends_with_the_same_bytes(tmp_path: Path) -> None:
    samples = [sample(n) for n in range(10)]
    captions = {f"k{n}": f"caption {n}" for n in range(10)}
    run(tmp_path / "whole", ListReader(samples), captions)

    class Killed(ListReader):
        def __getitem__(self, index: int) -> RawSample:
            if index == 6:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "torn", Killed(samples), captions)
    reader = ListReader(samples)
    run(tmp_path / "torn", reader, captions)
    assert min(reader.reads) == 4
    whole, torn = (tmp_path / name / "ledger.parquet" for name in ("whole", "torn"))
    assert whole.read_bytes() == torn.read_bytes()


texts = st.sampled_from(["a", "b", "A!", "…", "***", "", "c d", "c  D."])


@st.composite
def web_data(draw: st.DrawFn) -> tuple[ListReader, dict[str, str]]:
    """Readable and unreadable images with zero to three texts, most of them captioned."""
    samples: list[RawSample | DataError] = []
    captions = {}
    for n in range(draw(st.integers(1, 9))):
        raw = sample(n, *draw(st.lists(texts, min_size=1, max_size=3)))
        fate = draw(st.sampled_from(["fine", "fine", "fine", "broken", "unreadable"]))
        if fate == "broken":
            raw = RawSample(raw.key, b"", raw.texts, raw.image_id, "web", "memory")
        samples.append(DataError("torn page") if fate == "unreadable" else raw)
        if fate != "unreadable" and draw(st.booleans()):
            captions[raw.key] = draw(texts)
    refused = tuple(Quarantined(f"q{n}", "no image") for n in range(draw(st.integers(0, 2))))
    return ListReader(samples, refused), captions


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(web_data(), st.integers(1, 5), st.integers(1, 4))
def test_every_image_and_every_text_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory,
    data: tuple[ListReader, dict[str, str]],
    part_size: int,
    batch_size: int,
) -> None:
    reader, captions = data
    folder = tmp_path_factory.mktemp("filter")
    rows = run(folder, reader, captions, part_size=part_size, batch_size=batch_size)
    readable = [raw for raw in reader.samples if isinstance(raw, RawSample) and raw.image]
    expected = [(raw.key, "web", text) for raw in readable for text in raw.texts]
    expected += [(raw.key, "synthetic", captions[raw.key]) for raw in readable if raw.key in captions]
    found = [(row["key"], row["source"], row["text"]) for row in rows if row["source"] != "image"]
    assert sorted(found) == sorted(expected)
    counts = funnel(read_ledger(folder / "ledger.parquet"))
    assert counts["images"] == len(reader) + len(reader.quarantined) == len(readable) + counts["quarantined"]
    assert counts["candidates"] == len(expected)
    fates = [f"{fate}_{source}" for fate in ("kept", "dropped") for source in ("web", "synthetic")]
    assert counts["candidates"] == sum(counts[name] for name in fates)
    for row in rows:
        assert row["kept"] == (row["reason"] == "")
        assert not row["kept"] or row["itm_probability"] >= 0.5
    kept = [(row["key"], BlipCaption()(row["text"])) for row in rows if row["kept"]]
    assert len(kept) == len(set(kept))


def test_of_equal_web_texts_the_first_counts() -> None:
    found = list(candidates(sample(0, "x", "y", "X."), "Y", BlipCaption()))
    assert [c.reason for c in found] == ["", "", "same as the web text", "same as the web text"]


def test_a_transform_that_leaves_nothing_and_does_not_say_so_keeps_nothing() -> None:
    assert [c.reason for c in candidates(sample(0, "x"), "y", lambda _: "")] == ["empty text"] * 2


def test_images_without_texts_are_not_scored() -> None:
    assert score(small_learner(), torch.zeros(2, 3, 8, 8), [[""], []]) == [{}, {}]


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"other\.parquet has no column image_id, itc_similarity"):
        read_ledger(tmp_path / "other.parquet")
    names = {name: [name] for name in SCHEMA.names}
    pq.write_table(pa.table(names), tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"other\.parquet is no ledger: "):
        read_ledger(tmp_path / "other.parquet")
    assert SCHEMA.names[0] == "key"
