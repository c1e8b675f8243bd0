"""Whatever comes in and whatever the steps do: nothing is lost, and the ledger says what the shards hold."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmtk_capfilt.configs import CapfiltConfig
from mmtk_capfilt.steps.texts import KeepBest, LengthFilter

from mmtk.api import AtLeast, Best, Quarantined, RawSample, SampleError, StageError
from mmtk.data.configs import ImageLimits
from tests.capfilt.passes import Adds, Cleaned, Hashed, Refuses, Writes, clean, config, rows_of_parquet
from tests.small_learner import ListReader, picture

IMAGES = {
    "good": picture(0),
    "other": picture(1, (9, 12)),
    "small": picture(2, (3, 3)),
    "long": picture(3, (300, 8)),
    "cut": picture(4)[:60],
    "text": b"no picture at all",
    "empty": b"",
}
GOOD = ("good", "other")
HOSTILE = (
    "../../etc/passwd",
    "/a",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202ea",
    "a.b",
    "a.png",
    "",
    ".",
    "a/b",
    "a\nb",
)
ALIKE = ("x", "x-web", "x-web-2", "x-syn", "x-coco", "x-web-copy2", "y" * 300, "\U0001f600", "\0")
keys = st.one_of(st.sampled_from(HOSTILE + ALIKE), st.text(st.characters(codec="utf-8"), max_size=12))
TEXTS = (
    "a cat",
    "A CAT!",
    "a  cat.",
    "",
    " ",
    "...",
    "one",
    "drawn 1",
    "drawn 2",
    "a\nline",
    "\x1b[31mred\x1b[0m",
    "w " * 40,
)
texts = st.one_of(st.sampled_from(TEXTS), st.text(st.characters(codec="utf-8"), max_size=20))
LIMITS = ImageLimits(max_text_length=60)


@st.composite
def datasets(draw: st.DrawFn, name: str, most: int) -> ListReader:
    """Samples of which some can't be read or decoded, some have no texts, and some an index has refused."""
    samples: list[Any] = []
    for key in draw(st.lists(keys, unique=True, max_size=most)):
        image = draw(st.sampled_from((*GOOD, *GOOD, *GOOD, *IMAGES)))
        own = tuple(draw(st.lists(texts, max_size=3)))
        sample = RawSample(
            key, IMAGES[image], own, draw(st.sampled_from(("photo", f"id {key}"))), name, f"{name}.tar"
        )
        samples.append(
            draw(st.sampled_from([sample] * 6 + [SampleError("bad JSON: x", key, sample.location)]))
        )
    refused = draw(st.lists(keys, max_size=2))
    return ListReader(samples, [Quarantined(key, "duplicate key", f"{name}.tar") for key in refused])


@st.composite
def some_steps(draw: st.DrawFn) -> list[Any]:
    """Steps in a random order, each of whose rules is about a score that is there."""
    steps: list[Any] = []
    scores: list[str] = []
    for number in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(("write", "score", "refuse", "length", "best")))
        if kind == "write":
            steps.append(Writes(draw(st.integers(0, 3))))
        elif kind == "score":
            scores.append(f"score{number}")
            steps.append(
                Hashed(scores[-1], draw(rules_about(scores[-1])), draw(st.sampled_from(("", "0123"))))
            )
        elif kind == "refuse":
            steps.append(Refuses(draw(st.sampled_from((0.0, 0.3))), draw(st.sampled_from((0.0, 0.2)))))
        elif kind == "length":
            steps.append(
                LengthFilter(min_words=draw(st.integers(0, 2)), max_words=draw(st.sampled_from((None, 3))))
            )
        elif scores:
            steps.append(KeepBest(score=draw(st.sampled_from(scores)), count=draw(st.integers(1, 2))))
    return steps or [LengthFilter(min_words=2, max_words=None)]


@st.composite
def rules_about(draw: st.DrawFn, score: str) -> tuple[Any, ...]:
    threshold = st.sampled_from((0.0, 0.3, 0.5, 1.0))
    source = st.sampled_from(("", "web", "synthetic", "human"))
    rule = st.one_of(st.builds(AtLeast, st.just(score), threshold, source), st.builds(Best, st.just(score)))
    return tuple(draw(st.lists(rule, max_size=2)))


@st.composite
def passes(draw: st.DrawFn) -> tuple[dict[str, ListReader], dict[str, float], Any]:
    """The datasets by name, the weights, and the pass."""
    readers = {"": draw(datasets("web", 9))}
    if draw(st.booleans()):
        readers["coco"] = draw(datasets("coco", 4))
    names = ["web", "synthetic", *(name for name in readers if name)]
    weight = st.sampled_from((0, 0.5, 1, 1.5, 2.0))
    weights = {name: draw(weight) for name in draw(st.lists(st.sampled_from(names), unique=True))}
    steps = draw(some_steps())
    adding = Adds({name: reader for name, reader in readers.items() if name}, weights)
    if adding.datasets or weights:
        steps.insert(draw(st.integers(0, len(steps))), adding)
    wanted = config(
        readers[""],
        *steps,
        part_size=draw(st.integers(1, 6)),
        output=draw(st.sampled_from(("webdataset", "webdataset", "parquet"))),
        data={"batch_size": draw(st.integers(1, 4)), "limits": LIMITS},
    )
    return readers, weights, wanted


def plain(text: str) -> str:
    return " ".join(text.split())


def written(done: Cleaned, form: str) -> list[tuple[str, str, str, str]]:
    """Key, image id, source and text of what the shards hold, in order."""
    if form == "webdataset":
        return [(one.key, one.image_id, one.source, *one.texts) for one in done.written]  # type: ignore[misc]
    rows = rows_of_parquet(done.folder / "dataset")
    return [(row["key"], row["image_id"], row["source"], plain(row["text"])) for row in rows]


def check_balance(done: Cleaned, readers: dict[str, ListReader]) -> None:
    """What came in is kept, dropped or failed, image by image and text by text."""
    counts, rows = done.funnel, done.rows
    images = sum(len(reader) + len(reader.quarantined) for reader in readers.values())
    assert counts["images"] == images
    failed = [row for row in rows if row["source"] == "image"]
    assert counts["failed_images"] == len(failed)
    assert {(one["key"], one["location"]) for one in done.quarantine} == {
        (row["key"], row["shard"]) for row in failed
    }
    fates = Counter((row["source"], row["decision"]) for row in rows if row["source"] != "image")
    assert sum(fates.values()) == counts["candidates"]
    for (source, decision), count in fates.items():
        assert counts[f"{decision}_{source}"] == count
    for row in rows:
        assert (row["decision"] == "kept") == (row["reason"] == "")
        assert bool(row["step"]) == (row["decision"] != "kept" and row["source"] != "image")
    for name, reader in readers.items():
        for sample in reader.samples:
            key = sample.key + (f"-{name}" if name else "")
            own = [row for row in rows if (row["key"], row["shard"]) == (key, sample.location)]
            found = [row["text"] for row in own if row["source"] in ("web", "human")]
            usable = isinstance(sample, RawSample) and sample.image in (IMAGES["good"], IMAGES["other"])
            assert found == (list(sample.texts) if usable else [])
            assert own


def check_shards(done: Cleaned, weights: dict[str, float], form: str) -> None:
    """The shards hold each kept text, as often as its weight says, and nothing else."""
    found = written(done, form)
    assert len(found) == done.funnel["written"]
    assert len({key for key, *_ in found}) == len(found)
    place = 0
    for row in done.rows:
        if row["decision"] != "kept":
            continue
        dataset = "coco" if row["shard"] == "coco.tar" else row["source"]
        weight = weights.get(dataset, 1)
        expected = (row["image_id"], row["source"], plain(row["text"]))
        base = found[place][0] if place < len(found) else ""
        count = 0
        while (
            place < len(found)
            and count < math.ceil(weight)
            and found[place][1:] == expected
            and found[place][0] == (base if count == 0 else f"{base}-copy{count + 1}")
        ):
            place, count = place + 1, count + 1
        assert math.floor(weight) <= count
    assert place == len(found)


def cleaned(folder: Path, wanted: CapfiltConfig) -> Cleaned:
    """What a pass leaves, also one that ends in an error as none of its images can be used."""
    try:
        return clean(folder, wanted)
    except StageError:
        done = Cleaned(folder, [])
        assert done.funnel["failed_images"] == done.funnel["images"] > 0
        return done


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(passes(), st.integers(1, 5), st.integers(0, 2))
def test_the_accounts_balance(drawn: tuple[Any, Any, Any], batch_size: int, workers: int) -> None:
    readers, weights, wanted = drawn
    with tempfile.TemporaryDirectory() as folder:
        done = cleaned(Path(folder) / "stage", wanted)
        check_balance(done, readers)
        check_shards(done, weights, wanted.output)
        data = replace(wanted.data, batch_size=batch_size, workers=workers)
        assert cleaned(Path(folder) / "again", replace(wanted, data=data)).files == done.files
        longer = cleaned(Path(folder) / "longer", replace(wanted, part_size=100))
        assert longer.rows == done.rows
        assert longer.funnel == done.funnel
