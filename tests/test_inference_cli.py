"""The commands ``caption``, ``match``, ``embed``, ``index`` and ``search`` from the shell, on tiny models."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmtk.cli import main
from mmtk.data.images.decode import decode_image
from mmtk.data.images.transforms import BlipTest
from mmtk.data.texts import BlipCaption
from mmtk.engine.checkpoint import load_learner
from mmtk.engine.learner import Learner
from mmtk.inference import load
from mmtk.plugins import load_plugins
from mmtk.types import Decoding
from tests.inference_run import FEATURES, MEAN, STD, make_run, save_checkpoint
from tests.small_learner import picture

MMTK = Path(sys.executable).with_name("mmtk")
COUNT = 9


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run and a folder of pictures, one of them broken and one with an escape sequence in its name."""
    folder = tmp_path_factory.mktemp("work")
    make_run(folder / "run")
    (folder / "photos" / "deep").mkdir(parents=True)
    for number in range(COUNT):
        place = folder / "photos" / ("deep" if number % 2 else "") / f"{number}.png"
        place.write_bytes(picture(number, (20 + number, 30)))
    (folder / "photos" / "broken.jpg").write_bytes(b"no picture")
    (folder / "folder.npy").mkdir()
    (folder / "odd").mkdir()
    (folder / "odd" / "\x1b[31mred.png").write_bytes(picture(0))
    return folder


def mmtk(work: Path, *arguments: object, expect: int = 0, stdin: str = "") -> tuple[list[Any], str]:
    """Run the command in ``work``; return the objects it printed, and what it said beside them."""
    result = subprocess.run(
        [MMTK, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        input=stdin,
        cwd=work,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == expect, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr


def learner(work: Path, stage: str) -> Learner:
    return load_learner(work / "run" / stage / "checkpoint", load_plugins().registry)


def pixels(*paths: Path) -> torch.Tensor:
    """The pictures as training's transform scales them, its augmentation left out."""
    transform = BlipTest(32, MEAN, STD)
    return torch.stack([transform(decode_image(path.read_bytes()), torch.Generator()) for path in paths])


@torch.inference_mode()
def test_captions_of_files_patterns_and_the_input(work: Path) -> None:
    paths = [
        work / "photos" / "0.png",
        work / "photos" / "deep" / "1.png",
        work / "photos" / "deep" / "3.png",
    ]
    names = ["photos/0.png", "photos/broken.jpg", "photos/**/[13].png", "-", "gone.png"]
    lines, said = mmtk(
        work, "caption", *names, "--model", "run", "--max-length", 8, expect=1, stdin="photos/0.png\n"
    )
    assert said == "mmtk: run: the checkpoint of stage 'captioner'\n"
    trained = learner(work, "captioner")
    encoding = trained.model.encode_images(pixels(*paths))
    captions = trained.heads["lm"].generate(encoding, Decoding(max_length=8))
    assert lines == [
        {"path": "photos/0.png", "caption": captions[0]},
        {"path": "photos/broken.jpg", "error": "unreadable image: no known format, 10 bytes"},
        {"path": "photos/deep/1.png", "caption": captions[1]},
        {"path": "photos/deep/3.png", "caption": captions[2]},
        {"path": "photos/0.png", "caption": captions[0]},
        {"path": "gone.png", "error": "no such file"},
    ]


def test_sampled_captions_depend_on_the_seed_and_not_on_the_batch_size(work: Path) -> None:
    sampling = ("caption", "photos/deep", "--model", "run", "--top-p", "0.9", "--num", "2", "--seed")
    first, _ = mmtk(work, *sampling, 1)
    again, _ = mmtk(work, *sampling, 1, "--batch-size", 1)
    other, _ = mmtk(work, *sampling, 2)
    assert [line["path"] for line in first] == [f"photos/deep/{n}.png" for n in (1, 3, 5, 7) for _ in "ab"]
    assert first == again
    assert first != other


@torch.inference_mode()
def test_a_match_is_the_softmax_of_the_heads_logits(work: Path) -> None:
    texts = ["A red cat.", "the blue dog on a picture of 7", "!"]
    lines, said = mmtk(work, "match", "photos/0.png", *texts, "--model", "run", expect=1)
    assert "stage 'filter'" in said
    trained = learner(work, "filter")
    images = trained.model.encode_images(pixels(work / "photos" / "0.png"))
    for line, text in zip(lines[:2], texts[:2], strict=True):
        encoded = trained.model.encode_texts([BlipCaption(max_words=5)(text)])
        logits = trained.heads["itm"].match_logits(images, encoded)
        assert line["text"] == text
        assert line["match"] == pytest.approx(float(logits.softmax(1)[0, 1]), abs=1e-6)
        assert line["similarity"] == pytest.approx(
            float((images.features * encoded.features).sum()), abs=1e-6
        )
    assert lines[2]["error"].startswith("empty text")


@torch.inference_mode()
def test_features_are_the_models_own(work: Path) -> None:
    model = ("--model", "run", "--stage", "pretrain")
    lines, _ = mmtk(work, "embed", "photos", *model, "--output", "rows.npz", "--batch-size", 2, expect=1)
    with np.load(work / "rows.npz") as file:
        rows, names = file["embeddings"], file["names"].tolist()
    assert [line["path"] for line in lines if "row" in line] == names
    assert len(names) == COUNT
    trained = learner(work, "pretrain")
    expected = trained.model.encode_images(pixels(*(work / name for name in names))).features
    assert np.allclose(rows, expected.numpy(), atol=1e-6)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    lines, _ = mmtk(
        work, "embed", "--texts", "A cat!", "-", *model, "--output", "texts.npy", stdin="red\nblue dog\n"
    )
    assert lines == [{"text": text, "row": row} for row, text in enumerate(("A cat!", "red", "blue dog"))]
    expected = trained.model.encode_texts(["a cat", "red", "blue dog"]).features
    assert np.allclose(np.load(work / "texts.npy"), expected.numpy(), atol=1e-6)


def test_an_index_is_made_and_brought_up_to_date(work: Path) -> None:
    lines, said = mmtk(work, "index", "photos", "--model", "run", "--index", "found", expect=1)
    assert [Path(line["path"]).name for line in lines] == ["broken.jpg"]
    assert "mmtk: found: 9 pictures (9 new, 0 unchanged, 0 gone, 1 failed)" in said
    _, said = mmtk(work, "index", "photos/deep", "photos/0.png", "--model", "run", "--index", "found")
    assert "5 pictures (0 new, 5 unchanged, 4 gone, 0 failed)" in said


@pytest.fixture(scope="module")
def found(work: Path) -> Path:
    """An index by the filter's model."""
    load(work / "run", stage="filter").index(sorted((work / "photos").rglob("*.png")), work / "indexed")
    return work / "indexed"


def test_search_finds_what_the_python_api_finds(work: Path, found: Path) -> None:
    lines, said = mmtk(work, "search", "a red cat", "--index", found, "--top", 4)
    assert said == ""
    model = load(work / "run", stage="filter")
    for line, one in zip(lines, model.search("a red cat", found, top=4), strict=True):
        assert line["path"] == one.path
        assert line["match"] == pytest.approx(one.probability, abs=1e-5)
        assert line["similarity"] == pytest.approx(one.similarity, abs=1e-5)
    lines, _ = mmtk(work, "search", "--image", "photos/deep/5.png", "--index", found, "--top", 1)
    assert lines[0]["path"] == str(work / "photos" / "deep" / "5.png")
    assert lines[0]["match"] is None


def test_another_model_may_not_search_an_index(work: Path, found: Path) -> None:
    other = ("--model", "run", "--stage", "pretrain")
    _, said = mmtk(work, "search", "a cat", "--index", found, *other, expect=2)
    assert f"{found}: the index was made with" in said
    assert "which is not the model that was loaded" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("caption photos --model rum", r"rum: there is no such folder; .*; did you mean 'run'\?"),
        ("caption photos --model photos", "photos: no checkpoint here, .*mmtk import turns"),
        (
            "caption photos --model run --stage pretrian",
            "no finished checkpoint of a stage 'pretrian'; there are: pre",
        ),
        (
            "caption photos --model run/filter/checkpoint",
            "a head that writes captions, .*: it has heads itc, itm",
        ),
        (
            "match photos/0.png cat --model run --stage captioner",
            "a matching head, .*stage 'captioner' has heads lm",
        ),
        ("caption photos --model run --num 2", "--num 2: beam search writes one caption"),
        *(
            (
                f"caption photos --model run --beams {beams} --top-p 0.9",
                "mmtk caption: argument --top-p: not allowed with argument --beams",
            )
            for beams in (1, 3, 4)  # 3 is the default
        ),
        ("caption photos --model run --max-length 3 --min-length 4", "4 is more than max_length 3"),
        ("caption photos --model run --top-p 2", "expected a number above 0 and up to 1, not '2'"),
        ("caption photos --model run --device gpu", "expected auto, cpu, cuda or cuda:N, not 'gpu'"),
        ("caption photos --model run --image-size 48", "takes pictures of 32x32"),
        ("embed photos --texts cat --model run --output x.npy", "name pictures, or --texts, and not both"),
        ("embed photos --model run --output x.csv", "expected a name that ends in .npy or .npz"),
        ("embed photos --model run --output folder.npy", "--output folder.npy: a folder; expected a file's"),
        ("embed photos --model run --output no/x.npy", "there is no folder no"),
        ("index photos --model run --index photos", "photos: holds '0.png', which is no part of an index"),
        ("search cat --index nowhere", "nowhere: no index, index.json is missing"),
        ("search --image photos/0.png --rerank 3 --index nowhere", "--rerank goes with a text"),
        ("search --index nowhere", "name a text, or a picture"),
    ],
)
def test_mistakes_get_one_message(
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    message: str,
) -> None:
    monkeypatch.chdir(work)
    try:
        code = main(arguments.split())
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr().err
    assert code == 2
    assert re.search(message, said), said


def test_a_model_that_takes_any_size_asks_for_one(work: Path) -> None:
    save_checkpoint(work / "imported", ("itc",), 0, encoder=FEATURES, transforms=False)
    _, said = mmtk(work, "embed", "photos/0.png", "--model", "imported", "--output", "any.npy", expect=2)
    assert "imported: the checkpoint doesn't say which picture size" in said
    mmtk(work, "embed", "photos/0.png", "--model", "imported", "--output", "any.npy", "--image-size", 32)


def test_a_terminal_gets_plain_lines_and_no_escapes(work: Path) -> None:
    ours, theirs = pty.openpty()
    command = [MMTK, "match", "odd/\x1b[31mred.png", "a cat", "b\x1b[2Jad", "\x1b.", "--model", "run"]
    result = subprocess.run(command, check=False, stdout=theirs, stderr=subprocess.PIPE, cwd=work, text=True)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert result.returncode == 0, result.stderr
    first, second, third = shown.splitlines()
    assert first.startswith("match 0.")
    assert first.endswith("  a cat")
    assert second.endswith("  b\\x1b[2Jad")
    assert third.endswith("\\x1b.")
    assert "\x1b" not in shown


def test_a_bar_on_the_terminal_leaves_the_output_alone(work: Path) -> None:
    ours, theirs = pty.openpty()
    command = [MMTK, "caption", "odd", "photos/0.png", "--model", "run", "--max-length", "6"]
    result = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=theirs, cwd=work)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert result.returncode == 0
    assert b"\x1b" not in result.stdout
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["path"] for line in lines] == ["odd/\x1b[31mred.png", "photos/0.png"]
    assert "captions" in shown


def test_a_reader_that_has_seen_enough_ends_the_command_quietly(work: Path) -> None:
    command = f"{MMTK} caption photos photos photos --model run --max-length 6 --batch-size 1 | head -n 1"
    result = subprocess.run(command, shell=True, check=True, capture_output=True, text=True, cwd=work)
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == "mmtk: run: the checkpoint of stage 'captioner'\n"
