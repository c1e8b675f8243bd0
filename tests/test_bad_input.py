"""What a user can get wrong, through ``mmtk run`` in a process of its own: recipes, files and samples."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmtk.data.readers.webdataset import WebDatasetReader

RECIPE = """
name: tiny
device: cpu
definitions:
  web: {use: webdataset, path: web}
  web_in_order:
    reader: ${definitions.web}
    image_transform: {use: blip_test, size: 32}
    batch_size: 3
stages:
  vocabulary:
    use: train_wordpiece
    texts: ["${definitions.web}"]
    vocab_size: 60
  pretrain:
    use: train
    model:
      use: med
      image_encoder: {use: timm_vit, image_size: 32, patch_size: 16, width: 16, depth: 1, heads: 2}
      text_encoder: {use: med_bert, width: 16, depth: 1, heads: 2, hidden_width: 32, max_positions: 24}
      tokenizer: {use: wordpiece, vocab: {from: vocabulary.vocabulary}, max_length: 16}
      embed_dim: 8
    heads: {itc: {use: itc}, itm: {use: itm, negatives: {use: itc_weighted}}, lm: {use: lm}}
    momentum: {use: ema, queue_size: 20}
    data:
      sources: {web: {reader: "${definitions.web}"}}
      image_transform: {use: blip_train, size: 32}
      batch_size: 4
    epochs: 2
  capfilt:
    use: capfilt
    data: ${definitions.web_in_order}
    steps:
      - {use: caption, checkpoint: {from: pretrain.checkpoint}, decoding: {max_length: 6}}
      - {use: itm_filter, checkpoint: {from: pretrain.checkpoint}, threshold: 0}
      - {use: merge, human: {people: {use: webdataset, path: human}}}
    part_size: 7
  scores:
    use: evaluate
    checkpoint: {from: pretrain.checkpoint}
    splits: {web: "${definitions.web_in_order}"}
    metrics: {retrieval: {use: retrieval}, captions: {use: captioning, decoding: {max_length: 6}}}
"""
GOOD = [f"good{number:02d}" for number in range(16)]
BAD_IMAGES = {
    "corrupt": r"unreadable image: PNG data is damaged or truncated",
    "cut": r"cut-off shard: it ends in the png, after 100 of \d+ bytes",
    "dot": r"image too small: 1x1 pixels",
    "strip": r"image too elongated: 20000x10 pixels",
}
BAD = BAD_IMAGES | {"wordless": r"empty text$"}
IN_SHARDS = len(GOOD) + len(BAD)

# Runs several command lines in one process that has imported torch once; prints what came of each.
SEVERAL = """
import contextlib, io, json, sys, traceback
from mmtk.cli import main
results = []
for arguments in json.loads(sys.argv[1]):
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            code = main(arguments)
        except BaseException:
            code = traceback.print_exc()
    results.append([code, errors.getvalue()])
print(json.dumps(results))
"""


class Result(NamedTuple):
    code: int
    out: str
    err: str


def call(folder: Path, *command: str) -> Result:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def run(folder: Path, *arguments: str) -> Result:
    return call(folder, "-m", "mmtk", "run", *arguments)


def picture(number: int, size: tuple[int, int] = (40, 36)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (number * 37 % 256, number * 91 % 256, number * 53 % 256)).save(file, "PNG")
    return file.getvalue()


def write_shard(path: Path, samples: list[tuple[str, bytes, str]]) -> None:
    with tarfile.open(path, "w") as tar:
        for key, image, text in samples:
            for name, data in ((f"{key}.png", image), (f"{key}.txt", text.encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def write_data(folder: Path) -> None:
    """Web shards with five bad samples among sixteen good ones, human pairs, and a folder of no shards."""
    colours = ("red", "blue", "green", "black")
    good = [
        (key, picture(number), f"a {colours[number % 4]} square, number {number}")
        for number, key in enumerate(GOOD)
    ]
    corrupt = picture(90)[:60] + bytes(40)
    bad = [
        ("corrupt", corrupt, "a red square"),
        ("wordless", picture(91), " "),
        ("dot", picture(92, (1, 1)), "a red dot"),
        ("strip", picture(93, (20_000, 10)), "a red strip"),
    ]
    for name in ("web", "human", "empty"):
        (folder / name).mkdir()
    write_shard(folder / "web" / "web-000000.tar", [*good[:6], *bad[:2], *good[6:12], *bad[2:]])
    cut = folder / "web" / "web-000001.tar"
    write_shard(cut, [*good[12:], ("cut", picture(94, (300, 300)), "a cut square")])
    data = cut.read_bytes()
    cut.write_bytes(data[: data.index(b"cut.png") + tarfile.BLOCKSIZE + 100])
    write_shard(folder / "human" / "human-000000.tar", [("person", picture(95), "a blue square")])
    (folder / "empty" / "web-000000.tar.gz").touch()
    (folder / "notes.txt").write_text("hello\n")
    (folder / "damaged.tar").write_bytes(data[:300])
    (folder / "tiny.yaml").write_text(RECIPE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad_input")
    write_data(folder)
    return folder


def assert_is_message(err: str) -> None:
    assert err.startswith("mmtk: ")
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if not line.startswith("    | ")]) == 1


def place_of(text: str, within: str) -> str:
    """LINE:COLUMN of a part of the recipe."""
    before = within[: within.index(text)]
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


@pytest.mark.parametrize(
    ("right", "wrong", "points_at", "messages"),
    [
        pytest.param(
            "use: itc_weighted",
            "use: itc_wieghted",
            "itc_wieghted",
            ["stages.pretrain.heads.itm.negatives.use: unknown negatives 'itc_wieghted'", "'itc_weighted'?"],
            id="component",
        ),
        pytest.param(
            "queue_size",
            "queue_sise",
            "queue_sise",
            ["stages.pretrain.momentum.queue_sise: unknown key", "did you mean 'queue_size'?"],
            id="parameter",
        ),
        pytest.param(
            "path: web}",
            "path: wbe}",
            "wbe}",
            ["stages.vocabulary.texts.0.path: there is no file or folder wbe", "did you mean web?"],
            id="missing file",
        ),
        pytest.param(
            "epochs: 2",
            "epochs: two",
            "two",
            ["stages.pretrain.epochs: expected a whole number, not 'two'"],
            id="type",
        ),
        pytest.param(
            "patch_size: 16, width: 16",
            "patch_size: 16, width: [16]",
            "[16]",
            ["stages.pretrain.model.image_encoder.width: expected a whole number, not a list"],
            id="type deep inside",
        ),
        pytest.param(
            "{from: vocabulary.vocabulary}",
            "{from: vocabluary.vocabulary}",
            "vocabluary.vocabulary",
            ["stages.pretrain.model.tokenizer.vocab: unknown stage 'vocabluary'", "'vocabulary'?"],
            id="stage input",
        ),
        pytest.param(
            "threshold: 0}",
            "threshold: 0, image_transform: {use: blip_tset}}",
            "blip_tset",
            [
                "stages.capfilt.steps.1.image_transform.use: unknown image_transform 'blip_tset'",
                "'blip_test'?",
            ],
            id="component of a step",
        ),
        pytest.param(
            "{use: ema, queue_size: 20}",
            "{use: ema, queue_size: 20",
            "data:\n      sources",
            ["not valid YAML: "],
            id="YAML",
        ),
    ],
)
def test_a_mistake_in_the_recipe(
    folder: Path, tmp_path: Path, right: str, wrong: str, points_at: str, messages: list[str]
) -> None:
    assert RECIPE.count(right) == 1
    recipe = RECIPE.replace(right, wrong)
    (folder / "wrong.yaml").write_text(recipe)
    result = run(folder, "wrong.yaml", f"run_dir={tmp_path / 'run'}")
    assert (result.code, result.out) == (2, "")
    assert_is_message(result.err)
    # A broken document is reported where reading it fails, which may be the word or what follows it.
    place = place_of(points_at, recipe)
    found = re.match(r"mmtk: wrong\.yaml:(\d+):(\d+)", result.err)
    assert found
    if "not valid YAML" in messages[0]:
        assert found[1] == place.partition(":")[0]
    else:
        assert f"{found[1]}:{found[2]}" == place
    assert all(message in result.err for message in messages), result.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.pretrian.epochs=3", "did you mean 'pretrain'?"),
        ("stages.pretrain.epoch=3", "did you mean 'epochs'?"),
        ("stages.pretrain.momentum.queue_sise=3", "did you mean 'queue_size'?"),
        ("definitions.wbe.path=web", "did you mean 'web'?"),
        ("sed=3", "did you mean 'seed'?"),
    ],
)
def test_a_misspelt_override(folder: Path, tmp_path: Path, override: str, message: str) -> None:
    result = run(folder, "tiny.yaml", override, f"run_dir={tmp_path / 'run'}")
    assert (result.code, result.out) == (2, "")
    assert_is_message(result.err)
    key = override.partition("=")[0]
    assert result.err.startswith(f"mmtk: command line: {override}  {key}: ")
    assert message in result.err
    assert not (tmp_path / "run").exists()


def test_all_mistakes_are_said_at_once(folder: Path, tmp_path: Path) -> None:
    wrong = RECIPE.replace("itc_weighted", "itc_wieghted").replace("epochs: 2", "epochs: two")
    (folder / "wrong.yaml").write_text(wrong.replace("path: human", "path: hunam"))
    result = run(folder, "wrong.yaml", "stages.capfilt.part_sise=1", f"run_dir={tmp_path / 'run'}")
    assert result.code == 2
    heading, *problems = [line for line in result.err.splitlines() if not line.startswith("    | ")]
    assert heading == "mmtk: wrong.yaml: 4 problems"
    for hint in ("'itc_weighted'?", "not 'two'", "did you mean human?", "did you mean 'part_size'?"):
        assert sum(hint in problem for problem in problems) == 1
    assert "Traceback" not in result.err


@pytest.fixture(scope="module")
def done(folder: Path) -> tuple[Path, str]:
    """A run over bad samples: its folder, and what it said."""
    result = run(folder, "tiny.yaml")
    assert (result.code, result.err) == (0, "")
    return folder / "runs" / "tiny", result.out


def quarantined(stage: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (stage / "quarantine.jsonl").read_text("utf-8").splitlines()]


def assert_reasons(entries: list[dict[str, str]], expected: dict[str, str]) -> None:
    assert Counter(entry["key"] for entry in entries) == dict.fromkeys(expected, 1)
    for entry in entries:
        assert re.match(expected[entry["key"]], entry["reason"])
        assert Path(entry["location"]).name == f"web-00000{int(entry['key'] == 'cut')}.tar"


def test_training_quarantines_each_bad_sample_once(done: tuple[Path, str]) -> None:
    run_dir, said = done
    assert_reasons(quarantined(run_dir / "pretrain"), BAD)
    # Nothing of the cut sample is known, so an epoch offers the other 20, in 5 whole batches.
    assert f"an epoch is {IN_SHARDS - 1} samples in 5 steps" in said
    assert f"{len(BAD)} samples quarantined, see quarantine.jsonl" in said
    last = json.loads((run_dir / "pretrain" / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["step"], last["epoch"]) == (10, 2)
    assert f"from {len(GOOD) + len(BAD_IMAGES) - 1} texts, 1 samples left out, 1 texts left out" in said


def test_the_ledger_accounts_for_every_image_and_text(done: tuple[Path, str]) -> None:
    stage = done[0] / "capfilt"
    assert_reasons(quarantined(stage), BAD_IMAGES)
    rows = pq.read_table(stage / "ledger.parquet").to_pylist()
    places = Counter((row["key"], row["source"]) for row in rows)
    texts = [(key, source) for key in (*GOOD, "wordless") for source in ("web", "synthetic")]
    human = [row for row in rows if row["source"] == "human"]
    assert len(human) == 1
    failed = [(key, "image") for key in BAD_IMAGES]
    assert places == dict.fromkeys([*texts, *failed, (human[0]["key"], "human")], 1)
    for row in rows:
        assert (row["decision"] == "kept") == (row["reason"] == "")
        if row["source"] == "image":
            assert re.match(BAD_IMAGES[row["key"]], row["reason"])
            assert row["itm_probability"] is row["itc_similarity"] is None
            assert row["decision"] == "failed"
        elif (row["key"], row["source"]) == ("wordless", "web"):
            assert (row["text"], row["reason"], row["itm_probability"]) == ("", "empty text", None)
        elif row["source"] == "web":
            assert row["decision"] == "kept", "a threshold of 0 keeps every text that is scored"


def test_the_cleaned_shards_account_for_every_sample(done: tuple[Path, str]) -> None:
    stage = done[0] / "capfilt"
    funnel = json.loads((stage / "funnel.json").read_text())
    assert (funnel["images"], funnel["failed_images"]) == (IN_SHARDS + 1, len(BAD_IMAGES))
    assert funnel["captioned"] == len(GOOD) + 1
    assert funnel["candidates"] == 2 * (len(GOOD) + 1) + 1
    assert (funnel["kept_web"], funnel["dropped_web"], funnel["kept_human"]) == (len(GOOD), 1, 1)
    shards = WebDatasetReader(stage / "dataset")
    assert not shards.quarantined
    assert len(shards) == funnel["written"] == funnel["kept_web"] + funnel["kept_synthetic"] + 1


def test_evaluation_accounts_for_every_sample(done: tuple[Path, str]) -> None:
    stage = done[0] / "scores"
    assert_reasons(quarantined(stage), BAD)
    metrics = json.loads((stage / "metrics.json").read_text())
    assert metrics["web/retrieval/images"] == metrics["web/captions/images"] == len(GOOD)


FILE_FAULTS: list[tuple[str, str]] = [
    (
        "definitions.web.path=empty",
        r"stage 'vocabulary': no \*\.tar shards in the folder \S+empty$",
    ),
    (
        "definitions.web.path=damaged.tar",
        r"stage 'vocabulary': .*\(damaged\.tar: damaged shard: ",
    ),
    (
        "stages.pretrain.data.limits.min_edge=1000",
        r"stage 'pretrain': source 'web': none of its 20 samples can be used "
        r"\(21 quarantined, the first: \w+: image too small",
    ),
    (
        "stages.pretrain.model.tokenizer.vocab=notes.txt",
        r"stage 'pretrain': vocabulary \S+notes\.txt: lacks \[PAD\]",
    ),
    (
        "stages.capfilt.steps.0.checkpoint=human",
        r"command line: .*  stages\.capfilt\.steps\.0\.checkpoint: human: no checkpoint, "
        r"weights\.safetensors is missing",
    ),
    (
        "run_dir=notes.txt",
        r"notes\.txt can't be the run's folder: File exists$",
    ),
]


@pytest.fixture(scope="module")
def failures(folder: Path, done: tuple[Path, str]) -> dict[str, tuple[Any, str]]:
    """What becomes of each fault that only the reading of a file can find; other stages are done."""
    commands = []
    for number, (override, _message) in enumerate(FILE_FAULTS):
        copy = folder / "copies" / str(number)
        shutil.copytree(done[0], copy)
        commands.append(["run", "tiny.yaml", f"run_dir={copy}", override])
    result = call(folder, "-c", SEVERAL, json.dumps(commands))
    assert result.code == 0, result.err
    return dict(zip((override for override, _ in FILE_FAULTS), json.loads(result.out), strict=True))


@pytest.mark.parametrize(("override", "message"), FILE_FAULTS)
def test_a_file_that_is_not_what_it_should_be(
    failures: dict[str, tuple[Any, str]], override: str, message: str
) -> None:
    code, err = failures[override]
    assert code == 2, err
    assert_is_message(err)
    assert re.match(f"mmtk: {message}", err.rstrip()), err
