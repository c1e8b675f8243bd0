"""``mmtk run --dry-run`` and ``--resolved``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from mmtk.cli import main
from tests.test_bad_input import RECIPE, run, write_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dry_run")
    write_data(folder)
    return folder


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    """What is told of each stage, by its name; of the whole run by ``tiny``."""
    assert main(["run", "tiny.yaml", "--dry-run", *arguments]) == 0
    parts = re.split(r"^(?:\[\d/\d\] |(?=tiny: ))", capsys.readouterr().out, flags=re.MULTILINE)
    return {re.split(r"[ :]", part)[0]: part for part in parts if part}


def test_nothing_is_there_yet(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys)
    assert list(found) == ["vocabulary", "pretrain", "capfilt", "scores", "tiny"]
    assert "would run\n" in found["vocabulary"]
    assert "reads vocabulary.vocabulary\n" in found["pretrain"]
    assert re.search(r"parameters: ([\d,]+), of which \1 are trained", found["pretrain"])
    assert "an epoch is 20 samples in 5 steps of up to 4" in found["pretrain"]
    assert "taken as large as they may become: vocabulary.vocabulary" in found["pretrain"]
    assert "not estimated: stages of 'train_wordpiece' don't tell what they take" in found["vocabulary"]
    assert "steps: caption, itm_filter, merge\n" in found["capfilt"]
    assert "not there yet, and so not counted: pretrain.checkpoint\n" in found["capfilt"]
    assert "images: 20; what steps add is not known without pretrain.checkpoint\n" in found["capfilt"]
    assert "parameters: not known without pretrain.checkpoint\n" in found["scores"]
    assert "web: 20 samples in 7 batches of up to 3; metrics: retrieval, captions\n" in found["scores"]
    for name in ("capfilt", "scores"):
        assert "memory and time: not estimated: they are the " in found[name]
    assert found["tiny"] == "tiny: 0 would be skipped, 4 would run; nothing was run\n"
    assert not Path("runs").exists()


def test_memory_is_by_the_formula_of_the_scaling_page(capsys: pytest.CaptureFixture[str]) -> None:
    """4 P of weights and of gradients, 8 P of AdamW, 4 T of the average, 2 Q (4 E + 8) of the queue."""
    found = told(capsys)["pretrain"]
    count = int(re.search(r"parameters: ([\d,]+)", found)[1].replace(",", ""))  # type: ignore[index]
    kib = dict(re.findall(r"(weights|gradients|optimizer|its queue) ([\d.]+) KiB", found))
    assert float(kib["gradients"]) == pytest.approx(4 * count / 1024, rel=5e-3)
    assert float(kib["weights"]) == pytest.approx(4 * count / 1024, rel=2e-2)  # and a few buffers
    assert float(kib["optimizer"]) == pytest.approx(8 * count / 1024, rel=2e-2)
    assert float(kib["its queue"]) >= 2 * 20 * (4 * 8 + 8) / 1024 - 0.01


def test_a_run_is_told_as_it_comes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh = told(capsys)["pretrain"]
    result = run(folder, "tiny.yaml")
    assert result.code == 0, result.err
    said = re.search(r"([\d,]+) parameters, ([\d,]+) steps: an epoch is 20 samples", result.out)
    assert said is not None
    # Its texts have less than 60 tokens in them, so now the vocabulary is as large as it is.
    again = told(capsys, "stages.pretrain.epochs=4")
    assert f"parameters: {said[1]}, of which" in again["pretrain"]
    steps = re.search(r"steps: (\d+);", fresh)
    assert steps is not None
    assert steps[1] == said[2]
    assert "would be skipped; already done" in again["vocabulary"]
    assert (
        "would run anew, and what it had made be moved to .superseded/; epochs: 2 -> 4" in again["pretrain"]
    )
    assert "samples a second of an earlier try with other settings here" in again["pretrain"]
    assert "input stage 'pretrain' changed" in again["scores"]
    others = told(capsys, "stages.scores.splits.web.batch_size=2", "stages.capfilt.part_size=5")
    assert "pretrain" not in re.findall(r"not known \w+ (\w+)", others["scores"] + others["capfilt"])
    assert f"parameters: {said[1]}\n" in others["scores"]
    assert re.search(rf"parameters: {said[1]} in \S+/pretrain/checkpoint\n", others["capfilt"])
    assert re.search(r"images: 20, and \d+ of people in \d+ parts of up to 5\n", others["capfilt"])
    done = told(capsys)
    assert done["tiny"] == "tiny: 4 would be skipped, 0 would run; nothing was run\n"
    record = Path("runs/tiny/pretrain/stage.json")
    finished = record.read_text()
    record.write_text(finished.replace('"status": "done"', '"status": "interrupted"'))
    assert "would run; goes on from an earlier try (interrupted)" in told(capsys)["pretrain"]
    assert record.read_text() != finished
    record.write_text(finished)


def test_several_processes_share_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "--nproc", "2", "run_dir=runs/other")
    assert "an epoch is 20 samples in 2 steps of up to 8" in found["pretrain"]
    assert not Path("runs/other").exists()


def test_the_resolved_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "tiny.yaml", "--resolved", "seed=7"]) == 0
    text = capsys.readouterr().out
    resolved = yaml.safe_load(text)
    assert (resolved["seed"], resolved["stages"]["pretrain"]["optimizer"]["use"]) == (7, "adamw")
    Path("resolved.yaml").write_text(text)
    assert main(["run", "resolved.yaml", "--resolved"]) == 0
    assert capsys.readouterr().out == text


def test_mistakes_are_found_first(capsys: pytest.CaptureFixture[str]) -> None:
    Path("wrong.yaml").write_text(RECIPE.replace("epochs: 2", "epochs: two"))
    for option in ("--dry-run", "--resolved"):
        assert main(["run", "wrong.yaml", option]) == 2
        assert "expected a whole number, not 'two'" in capsys.readouterr().err
