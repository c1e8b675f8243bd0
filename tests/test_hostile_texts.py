"""Keys, captions and names that would take over a terminal, through ``mmtk run`` in processes of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from mmtk.printable import printable

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[31m"
BIDI = "\u202ednuobfo"
KEY = f"key{ESCAPES}{BIDI}\nmmtk: all stages done"
CAPTION = f"a {ESCAPES} red square {BIDI}\r\x9b31m"

RECIPE = """
name: hostile
device: cpu
stages:
  vocabulary:
    use: train_wordpiece
    texts: [{use: webdataset, path: web}]
    vocab_size: 60
  scores:
    use: train
    model:
      use: med
      image_encoder: {use: timm_vit, image_size: 32, patch_size: 16, width: 16, depth: 1, heads: 2}
      text_encoder: {use: med_bert, width: 16, depth: 1, heads: 2, hidden_width: 32, max_positions: 24}
      tokenizer: {use: wordpiece, vocab: {from: vocabulary.vocabulary}, max_length: 16}
      embed_dim: 8
    heads: {itc: {use: itc}}
    data:
      sources: {web: {reader: {use: webdataset, path: web}}}
      image_transform: {use: blip_train, size: 32}
      limits: {max_text_length: 200}
      batch_size: 2
    epochs: 1
    optimizer: {use: adamw, lr: 1.0e-3}
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "mmtk", "run", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=300, check=False)


def assert_harmless(output: bytes) -> None:
    text = output.decode()
    assert not set(text) & {chr(code) for code in (*range(10), *range(11, 32), 127, *range(128, 160))}
    assert not set(text) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert "\nmmtk: all stages done" not in text


def write_shard(path: Path, samples: list[tuple[str, bytes, str]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, image, text in samples:
            for name, data in ((f"{key}.png", image), (f"{key}.txt", text.encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def picture(edge: int = 40) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (edge, edge), "red").save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hostile.yaml").write_text(RECIPE)
    return tmp_path


def test_a_run_over_hostile_samples_prints_nothing_that_acts(folder: Path) -> None:
    long = "word " * 20_000 + ESCAPES
    samples = [(f"{KEY}{number}", picture(), CAPTION) for number in range(6)]
    samples += [(f"{KEY} bad", picture(2), CAPTION), (f"{KEY} long", picture(), long)]
    write_shard(folder / "web" / "web.tar", samples)
    done = run(folder, "hostile.yaml")
    assert done.returncode == 0, done.stderr.decode()
    assert_harmless(done.stdout + done.stderr)
    listed = folder / "runs" / "hostile" / "scores" / "quarantine.jsonl"
    raw = listed.read_bytes()
    assert b"\x1b" not in raw
    entries = {entry["key"]: entry["reason"] for entry in map(json.loads, raw.decode().splitlines())}
    assert entries == {
        printable(f"{KEY} bad"): "image too small: 2x2 pixels, the shorter edge must have at least 8",
        printable(f"{KEY} long"): f"text too long: {len(long)} characters, more than 200",
    }


def test_messages_about_unusable_data_are_harmless(folder: Path) -> None:
    write_shard(folder / "web" / "web.tar", [(f"{KEY}{number}", picture(2), CAPTION) for number in range(3)])
    done = run(folder, "hostile.yaml")
    assert done.returncode == 2
    assert_harmless(done.stdout + done.stderr)
    assert r"\x1b]0;owned\x07" in done.stderr.decode()


@pytest.mark.parametrize(
    "override", [f"stages.scores.epochs={ESCAPES}", f"stages.{ESCAPES}.epochs=1", ESCAPES]
)
def test_messages_about_recipes_are_harmless(folder: Path, override: str) -> None:
    write_shard(folder / "web" / "web.tar", [("key", picture(), "a red square")])
    done = run(folder, "hostile.yaml", override)
    assert done.returncode == 2
    assert_harmless(done.stdout + done.stderr)
    assert r"\x1b]0;owned" in done.stderr.decode()


def test_a_hostile_path_is_harmless(folder: Path) -> None:
    done = run(folder, f"no\x1b[31m{BIDI}.yaml")
    assert done.returncode == 2
    assert_harmless(done.stdout + done.stderr)


def test_a_path_that_is_no_unicode_is_no_traceback(folder: Path) -> None:
    done = run(folder, os.fsdecode(b"no\xff.yaml"))
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
