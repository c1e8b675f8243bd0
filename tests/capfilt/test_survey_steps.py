"""The steps that look through whole datasets first, alone and in a pass."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import yaml
from mmtk_capfilt.configs import CapfiltConfig
from mmtk_capfilt.ledger import read_ledger
from mmtk_capfilt.stage import CapfiltStage
from mmtk_capfilt.steps.configs import DecontaminateConfig
from mmtk_capfilt.steps.decontaminate import Decontaminate
from mmtk_capfilt.steps.dedup import Dedup
from mmtk_capfilt.steps.surveys import look_through, wording
from PIL import Image
from rich.console import Console

from benchmarks.capfilt_steps import recompressed, texture
from mmtk.candidates import HUMAN, SYNTHETIC, WEB, Candidate, ImageCandidates, SurveyingStep
from mmtk.data.configs import DEFAULT_LIMITS, ImageLimits
from mmtk.data.images.decode import decode_image
from mmtk.data.shards import ShardWriter
from mmtk.errors import DataError, StageError
from mmtk.plugins import load_plugins
from mmtk.recipe import check_recipe, load_recipe
from mmtk.stages.runner import run_recipe
from mmtk.testing import tiny_blueprint
from mmtk.types import RawSample
from tests.capfilt.passes import clean, config
from tests.small_learner import Built, ListReader, stage_context


def encoded(picture: Image.Image, form: str = "png", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def pair(key: str, image: bytes, *texts: str) -> RawSample:
    return RawSample(key, image, texts or (f"text of {key}",), key, "web", "memory")


A, B, C, D = (texture(seed) for seed in range(4))
PLAIN = encoded(Image.new("RGB", (40, 40), "red"))
OTHER_PLAIN = encoded(Image.new("RGB", (40, 40), "blue"))
BROKEN = b"no image"
SMALLER_A = encoded(A.resize((120, 120)), "jpeg", quality=70)
PAIRS = [
    pair("broken", BROKEN),
    pair("a", encoded(A)),
    pair("b", encoded(B)),
    pair("a-again", encoded(A)),
    pair("plain", PLAIN),
    pair("a-smaller", SMALLER_A),
    pair("other-plain", OTHER_PLAIN),
    pair("plain-again", PLAIN),
]


def images_of(pairs: Sequence[RawSample]) -> list[ImageCandidates]:
    """The images as the pass hands them to its first step."""
    made = []
    for index, sample in enumerate(pairs):
        try:
            picture = decode_image(sample.image)
        except DataError:
            continue
        candidates = tuple(Candidate(text, WEB, text.lower()) for text in sample.texts)
        made.append(ImageCandidates(sample, index, picture, torch.zeros(3, 8, 8), index, candidates))
    return made


def dedup(**keys: Any) -> Dedup:
    return Dedup(**{"distance": 3, "texts": False, "max_repeats": 1, "data_limits": DEFAULT_LIMITS} | keys)


def learnt(step: Any, pairs: Sequence[RawSample | DataError]) -> Any:
    """The step as a worker has it: a new one that is given the survey of another."""
    step.learn(step.survey({"": ListReader(pairs)}))
    return step


def left_out(step: Any, pairs: Sequence[RawSample]) -> dict[str, str]:
    return {image.key: image.left_out for image in step(images_of(pairs)) if image.left_out}


def test_duplicates_are_left_out_for_the_first_of_them() -> None:
    assert left_out(learnt(dedup(), PAIRS), PAIRS) == {
        "a-again": "duplicate image: a",
        "a-smaller": "duplicate image: a",
        "plain-again": "duplicate image: plain",
    }


def test_without_a_distance_only_equal_files_are_duplicates_and_none_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("mmtk_capfilt.steps.surveys.decode_image", decode)
    step = learnt(dedup(distance=None), PAIRS)
    assert left_out(step, PAIRS).keys() == {"a-again", "plain-again"}


def test_images_that_the_pass_refuses_stand_for_no_other() -> None:
    small = ImageLimits(min_edge=150)
    pairs = [pair("too-small", SMALLER_A), pair("a", encoded(A)), pair("again", encoded(A))]
    assert left_out(learnt(dedup(data_limits=small), pairs), pairs) == {"again": "duplicate image: a"}


def test_the_limits_of_the_pass_are_those_of_its_survey(tmp_path: Path) -> None:
    reader = ListReader([pair("too-small", SMALLER_A), pair("a", encoded(A)), pair("again", encoded(A))])
    limits = ImageLimits(min_edge=150)
    steps = (tiny_blueprint("capfilt_step", "dedup"),)
    done = clean(tmp_path / "pass", config(reader, steps=steps, data={"limits": limits}))
    assert {row["key"]: row["reason"] for row in done.rows} == {
        "too-small": "image too small: 120x120 pixels, the shorter edge must have at least 150",
        "a": "",
        "again": "duplicate image: a",
    }


@dataclass
class Notes:
    """A surveying step that notes when it is asked for what."""

    events: list[str]

    def survey(self, _readers: Mapping[str, Any]) -> pa.Table:
        self.events.append("survey")
        return pa.table({"found": [1]})

    def learn(self, _survey: pa.Table) -> None:
        self.events.append("learn")

    def __call__(self, images: Sequence[ImageCandidates]) -> Sequence[ImageCandidates]:
        self.events.append("work")
        return images


def test_ranks_meet_before_each_collective_so_that_it_does_not_time_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def gather(value: Any) -> list[Any]:
        events.append("gather")
        return [value]

    monkeypatch.setattr("mmtk_capfilt.stage.world_size", lambda: 2)
    monkeypatch.setattr("mmtk_capfilt.stage.gather_objects", gather)
    said: list[str] = []
    context = replace(stage_context(tmp_path, lines=said), meet=lambda: events.append("meet"))
    wanted = config(ListReader(PAIRS[1:3]), Notes(events))
    CapfiltStage(**{one.name: getattr(wanted, one.name) for one in fields(CapfiltConfig)}).run(context)
    assert events == ["survey", "meet", "gather", "learn", "work", "meet", "gather"]
    assert said[0] == "step notes looks through datasets"


def test_samples_that_cannot_be_read_are_passed_over() -> None:
    survey = dedup().survey({"": ListReader([DataError("gone"), *PAIRS[1:4]])})
    assert survey.select(["index", "key", "duplicate_of"]).to_pylist() == [
        {"index": 3, "key": "a-again", "duplicate_of": "a"}
    ]


def test_images_of_other_datasets_are_left_alone() -> None:
    step = dedup()
    step.learn(step.survey({"": ListReader(PAIRS), "coco": ListReader(PAIRS)}))
    (human,) = images_of([pair("a-again-coco", encoded(A))])
    assert not step([human])[0].left_out


def test_repeated_texts_are_barred_where_they_were_found() -> None:
    pairs = [
        pair("a", encoded(A), "Buy it now!", "a hill"),
        pair("b", encoded(B), "buy  it, NOW", "Buy it now"),
        pair("c", encoded(C), "...", "a hill"),
        pair("d", encoded(D), "...", "buy it now"),
    ]
    step = learnt(dedup(texts=True, max_repeats=2), pairs)
    barred = {one.text: one.barred for image in step(images_of(pairs)) for one in image.candidates}
    said = "repeated text: said of 3 images"
    repeated = ("Buy it now!", "buy  it, NOW", "Buy it now", "buy it now")
    assert barred == dict.fromkeys(repeated, said) | {"a hill": "", "...": ""}
    (image,) = images_of([pair("d", encoded(D), "nothing")])
    others = image.adding(["buy it now"], source=SYNTHETIC).adding(["Buy it now!"], source=HUMAN)
    assert not any(one.barred for one in step([others])[0].candidates)
    assert not any(
        one.barred for image in learnt(dedup(), pairs)(images_of(pairs)) for one in image.candidates
    )


def test_texts_of_duplicates_count_once() -> None:
    pairs = [pair(f"copy{number}", encoded(A), "one view of a hill") for number in range(5)]
    (first, *_) = learnt(dedup(texts=True, max_repeats=1), pairs)(images_of(pairs))
    assert [one.barred for one in first.candidates] == [""]


@pytest.mark.parametrize("texts", [("A cat!", "a  cat"), ("Straße", "STRASSE"), ("x,y", "x y")])
def test_wordings_are_equal_without_case_and_punctuation(texts: tuple[str, str]) -> None:
    assert wording(texts[0]) == wording(texts[1]) != wording("a dog")


def test_texts_without_words_have_no_wording() -> None:
    assert wording("…!") == wording("") == 0


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_batches_and_who_works_on_them_make_no_difference(batch: int) -> None:
    survey = dedup(texts=True).survey({"": ListReader(PAIRS)})
    assert survey.equals(dedup(texts=True).survey({"": ListReader(PAIRS)}))
    step, images = dedup(texts=True), images_of(PAIRS)
    step.learn(survey)
    done = [one for start in range(0, len(images), batch) for one in step(images[start : start + batch])]
    assert [one.left_out for one in done] == [one.left_out for one in step(images)]


def test_many_images_are_looked_at_once_each_and_in_order() -> None:
    reader = ListReader([pair(f"k{number}", PLAIN, f"{number}") for number in range(600)])
    seen = look_through(reader, None, DEFAULT_LIMITS)
    assert sorted(reader.reads) == list(range(600)) == seen.indices.tolist() == seen.owners.tolist()
    assert seen.keys.to_pylist() == [f"k{number}" for number in range(600)]
    assert seen.texts.tolist() == [wording(str(number)) for number in range(600)]


def test_an_empty_dataset_has_no_duplicates() -> None:
    assert len(dedup(texts=True).survey({"": ListReader([])})) == 0


def decontaminate(*, distance: int | None = 3, **sets: Sequence[RawSample]) -> Decontaminate:
    against = {name: Built(ListReader(pairs)) for name, pairs in sets.items()}
    step = Decontaminate(against=against, distance=distance, limits=DEFAULT_LIMITS)
    step.learn(step.survey({}))
    return step


def test_evaluation_images_are_left_out_whatever_their_size() -> None:
    coco = [pair("17", SMALLER_A), pair("broken", BROKEN), pair("19", PLAIN)]
    step = decontaminate(coco=coco, other=[pair("18", encoded(D)), pair("20", PLAIN)])
    assert left_out(step, [*PAIRS, pair("d", encoded(D))]) == {
        "a": "evaluation image: coco: 17",
        "a-again": "evaluation image: coco: 17",
        "a-smaller": "evaluation image: coco: 17",
        "plain": "evaluation image: coco: 19",
        "plain-again": "evaluation image: coco: 19",
        "d": "evaluation image: other: 18",
    }


def test_the_nearest_evaluation_image_is_named() -> None:
    sets = [pair("smaller", encoded(recompressed(A.resize((90, 90)), 20))), pair("same", encoded(A))]
    step = decontaminate(test=sets)
    assert left_out(step, [pair("a", encoded(A))]) == {"a": "evaluation image: test: same"}


def test_without_a_distance_only_evaluation_files_are_left_out() -> None:
    step = decontaminate(distance=None, test=[pair("1", encoded(A)), pair("2", PLAIN)])
    assert left_out(step, PAIRS).keys() == {"a", "a-again", "plain", "plain-again"}


def test_a_distance_of_zero_still_looks() -> None:
    lossless = encoded(A, "webp", lossless=True)
    found = left_out(decontaminate(distance=0, test=[pair("1", lossless)]), PAIRS)
    assert {"a", "a-again"} <= found.keys()
    assert "b" not in found


def test_an_evaluation_set_of_plain_images_alone_is_compared_by_files() -> None:
    assert left_out(decontaminate(test=[pair("1", OTHER_PLAIN)]), PAIRS).keys() == {"other-plain"}


def test_an_evaluation_set_without_a_readable_image_is_refused() -> None:
    with pytest.raises(StageError, match="not one picture of 'coco' can be read"):
        decontaminate(coco=[pair("broken", BROKEN)])


def test_no_evaluation_set_at_all_is_refused() -> None:
    assert [name for name, _ in DecontaminateConfig(against={}).check()] == ["against"]


def test_both_survey() -> None:
    assert isinstance(dedup(), SurveyingStep)
    assert isinstance(decontaminate(test=[pair("1", PLAIN)]), SurveyingStep)


def write(folder: Path, pairs: Sequence[RawSample]) -> dict[str, str]:
    with ShardWriter(folder, folder.name, samples_per_shard=3) as shards:
        for one in pairs:
            shards.write(one)
    return {"use": "webdataset", "path": str(folder)}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """Runs a pass without a model over ``PAIRS``, two more and a human set; returns the stage's folder."""
    advert = "Click to enlarge"
    pairs = [
        *PAIRS[1:],
        pair("c", encoded(C), advert, "a view of a lake"),
        pair("d", encoded(D), advert, "a view of hills"),
    ]
    web = write(tmp_path / "web", pairs)
    (shard, *_) = sorted((tmp_path / "web").glob("*.tar"))
    shard.write_bytes(shard.read_bytes().replace(encoded(B), bytes(len(encoded(B)))))
    test = write(tmp_path / "test", [pair("t", encoded(recompressed(C, 60)))])
    human = write(tmp_path / "human", [pair("h", encoded(A), "a hill")])
    registry = load_plugins().registry

    def run(name: str, executor: Mapping[str, Any]) -> Path:
        stage = {
            "use": "capfilt",
            "data": {"reader": web, "image_transform": {"use": "blip_test", "size": 16}, "batch_size": 2},
            "steps": [
                {"use": "dedup", "texts": True, "max_repeats": 1},
                {"use": "decontaminate", "against": {"test": test}},
                {"use": "length_filter", "min_words": 2},
                {"use": "merge", "human": {"human": human}},
            ],
            "part_size": 3,
            "executor": executor,
        }
        content = {
            "name": name, "seed": 1, "device": "cpu", "run_dir": str(tmp_path / name),
            "stages": {"capfilt": stage},
        }  # fmt: skip
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        run_recipe(check_recipe(load_recipe(path), registry), registry, Console(file=io.StringIO()))
        return tmp_path / name / "capfilt"

    return run


def test_a_pass_leaves_out_duplicates_and_evaluation_images(run: Callable[..., Path]) -> None:
    done = run("one", {"use": "local"})
    rows = read_ledger(done / "ledger.parquet").to_pylist()
    fates = {(row["key"], row["text"]): (row["decision"], row["step"], row["reason"]) for row in rows}
    said = ("dropped", "dedup", "repeated text: said of 2 images")
    failed = fates.pop(("b", ""))
    assert failed[0] == "failed"
    assert fates == {
        ("a", "text of a"): ("kept", "", ""),
        ("a-again", "text of a-again"): ("dropped", "dedup", "duplicate image: a"),
        ("plain", "text of plain"): ("kept", "", ""),
        ("a-smaller", "text of a-smaller"): ("dropped", "dedup", "duplicate image: a"),
        ("other-plain", "text of other-plain"): ("kept", "", ""),
        ("plain-again", "text of plain-again"): ("dropped", "dedup", "duplicate image: plain"),
        ("c", "Click to enlarge"): said,
        ("c", "a view of a lake"): ("dropped", "decontaminate", "evaluation image: test: t"),
        ("d", "Click to enlarge"): said,
        ("d", "a view of hills"): ("kept", "", ""),
        ("h-human", "a hill"): ("kept", "", ""),
    }
    counts = json.loads((done / "funnel.json").read_text(encoding="utf-8"))
    assert (counts["images"], counts["written"], counts["failed_images"]) == (10, 5, 1)


def test_two_workers_write_what_one_does(run: Callable[..., Path]) -> None:
    folders = [run(f"with{count}", {"use": "local", "workers": count}) for count in (1, 2)]
    names = [
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        for folder in folders
    ]
    same = [name for name in names[0] if name != "stage.json"]
    assert {"ledger.parquet", "surveys/dedup.parquet", "surveys/decontaminate.parquet"} <= set(same)
    assert any(name.startswith("dataset/") for name in same)
    assert names[0] == names[1]
    assert [
        name for name in same if (folders[0] / name).read_bytes() != (folders[1] / name).read_bytes()
    ] == []
