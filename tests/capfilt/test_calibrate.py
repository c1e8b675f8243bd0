"""Thresholds are judged on texts that are known to be right or wrong, and one is proposed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmtk_capfilt.calibration.figures import (
    CHANCE,
    Judged,
    Proposal,
    ThresholdFigures,
    bins_of,
    calibrate,
    propose,
)
from mmtk_capfilt.ledger import ITC, ITM, LedgerRow, schema, to_table
from PIL import Image

from mmtk.api import DataError
from mmtk.cli import main
from mmtk.data.shards import ShardWriter
from mmtk.stages.record import StageRecord, Status, write_record
from tests.inference_run import save_checkpoint
from tests.small_learner import sample

SCORES = [0.05, 0.15, 0.35, 0.55, 0.62, 0.95]
RIGHT = [False, False, True, False, True, True]


def judged(scores: list[float], right: list[bool], score: str = ITM) -> Judged:
    return Judged(score, "texts", np.asarray(scores, np.float64), np.asarray(right, np.bool_))


def test_figures_worked_out_by_hand() -> None:
    rows = {one.threshold: one for one in calibrate(judged(SCORES, RIGHT)).thresholds}
    assert rows[0.0] == ThresholdFigures(0.0, 1.0, 0.5, 1.0, 0.0)
    assert rows[0.5] == ThresholdFigures(
        0.5, 0.5, pytest.approx(2 / 3), pytest.approx(2 / 3), pytest.approx(2 / 3)
    )
    assert rows[0.95].kept == pytest.approx(1 / 6)
    assert rows[0.96] == ThresholdFigures(0.96, 0.0, None, 0.0, 1.0)


def test_bins_and_their_error() -> None:
    bins = bins_of(judged([0.0, 0.09, 0.5, 0.58, 1.0], [False, True, True, True, False]))
    assert [(one.low, one.high, one.texts, one.observed) for one in bins] == [
        (0.0, 0.1, 2, 0.5), (0.5, 0.6, 2, 1.0), (0.9, 1.0, 1, 0.0)
    ]  # fmt: skip
    assert [one.expected for one in bins] == pytest.approx([0.045, 0.54, 1.0])
    found = calibrate(judged([0.0, 0.09, 0.5, 0.58, 1.0], [False, True, True, True, False])).error
    assert found == pytest.approx((2 * 0.455 + 2 * 0.46 + 1.0) / 5)


def test_the_proposal_is_the_lowest_of_the_best_balance() -> None:
    proposal = calibrate(judged(SCORES, RIGHT)).proposal
    assert proposal.figures is not None
    assert proposal.figures.threshold == 0.16  # above the wrong text of 0.15, with all right ones
    assert proposal.reason == "best balance: keeps 100.0% of the right texts, drops 66.7% of the wrong ones"


def test_the_proposal_for_a_precision() -> None:
    rows = calibrate(judged(SCORES, RIGHT)).thresholds
    proposal = propose(rows, 0.9)
    assert proposal.figures is not None
    assert (proposal.figures.threshold, proposal.figures.precision) == (0.56, 1.0)
    assert proposal.reason == "lowest threshold with a precision of at least 0.9; it keeps 33.3%"
    wrong_on_top = calibrate(judged([0.2, 0.9], [True, False]), 0.9).proposal
    assert wrong_on_top.figures is None
    assert wrong_on_top.reason == "no threshold has a precision of 0.9; the highest is 0.500, at 0"


@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=2).filter(
        lambda texts: len({right for _, right in texts}) == 2
    )
)
def test_no_threshold_has_a_better_balance_and_the_bins_hold_all_texts(
    texts: list[tuple[float, bool]],
) -> None:
    scores, right = (list(column) for column in zip(*texts, strict=True))
    found = calibrate(judged(scores, right))
    best = max(one.balance for one in found.thresholds)
    assert best == (0.5 if found.proposal.figures is None else found.proposal.figures.balance)
    pairs = [(a, b) for a, is_right in texts if is_right for b, is_other in texts if not is_other]
    assert found.roc_auc == pytest.approx(sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs))
    assert sum(one.texts for one in found.bins) == len(texts)
    assert sum(one.texts * one.observed for one in found.bins) == pytest.approx(sum(right))
    assert 0 <= (found.error or 0) <= 1
    for one in found.thresholds:
        kept = [is_right for score, is_right in texts if score >= one.threshold]
        assert one.kept == pytest.approx(len(kept) / len(texts))
        assert one.precision == (pytest.approx(sum(kept) / len(kept)) if kept else None)


def test_a_filter_that_knows_nothing_is_told_of() -> None:
    flat = calibrate(judged([0.5] * 40, [True, False] * 20))
    assert flat.proposal == Proposal(None, "no threshold gains anything over keeping everything")
    assert flat.doubt.startswith(
        "this score can't be seen to tell right texts from wrong ones: its ROC AUC is 0.500"
    )
    draw = np.random.default_rng(3)
    right = [True, False] * 500
    assert calibrate(judged(draw.random(1000).tolist(), right)).doubt
    assert (
        calibrate(
            judged([0.8 * s + 0.2 * r for s, r in zip(draw.random(1000), right, strict=True)], right)
        ).doubt
        == ""
    )


def test_doubts_are_as_rare_as_they_say() -> None:
    """Of scores that know nothing, few go without a doubt, as draws of 200 may have them."""
    draw, right = np.random.default_rng(1), [True] * 60 + [False] * 90
    found = [calibrate(judged(draw.random(150).tolist(), right)).doubt == "" for _ in range(200)]
    assert sum(found) / 200 <= 4 * CHANCE


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=30, unique=True))
def test_thresholds_of_other_scores_begin_with_one_that_keeps_all(scores: list[float]) -> None:
    found = calibrate(judged(scores, [True, *[False] * (len(scores) - 1)], ITC))
    assert found.thresholds[0].kept == 1.0
    assert found.bins == []
    assert found.error is None


@pytest.mark.parametrize(
    ("right", "message"),
    [([True], "all 1 texts are right"), ([False], "all 1 texts are wrong"), ([], "no texts")],
)
def test_texts_of_one_kind_are_refused(right: list[bool], message: str) -> None:
    with pytest.raises(DataError, match=f"nothing to tell apart: .*{message}"):
        judged([0.5] * len(right), right)


# The command


def text(key: str, words: str, score: float | None, source: str = "web") -> LedgerRow:
    scores = {} if score is None else {ITM: score, ITC: 2 * score - 1}
    return LedgerRow("s", key, key, source, words, scores=scores)


ROWS = [
    *(text(f"{n:03d}", f"text {n}", score) for n, score in enumerate(SCORES)),
    text("900", "never scored", None),
    text("901", "unlabelled", 0.5),
    text("000", "A red cat!", 0.7, "synthetic"),
    text("001", "a blue dog", 0.2, "synthetic"),
]
TRUTH = [
    {"key": f"{n:03d}", "clean": right, "noise_kind": None, "label": "a red cat"}
    for n, right in enumerate(RIGHT)
]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A run's ledger, beside the stage that wrote the labels of its data."""
    run = tmp_path / "run"
    for stage, use in (("pass", "capfilt"), ("emoji", "emoji_data")):
        (run / stage).mkdir(parents=True)
        write_record(run / stage, StageRecord(Status.DONE, "f", {"use": use}, 0))
    pq.write_table(to_table(ROWS, schema((), ())), run / "pass" / "ledger.parquet")
    pq.write_table(pa.Table.from_pylist(TRUTH), run / "emoji" / "truth.parquet")
    return run / "pass" / "ledger.parquet"


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """What the command prints as JSON."""
    assert main(["capfilt", "calibrate", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["capfilt", "calibrate", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_the_tables(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capfilt", "calibrate", str(ledger)]) == 0
    captured = capsys.readouterr()
    assert f"labels: {ledger.parents[1] / 'emoji' / 'truth.parquet'}" in captured.err
    assert "6 labelled web texts with the score itm_probability, 3 of them right (50%)" in captured.out
    rows = [line.split() for line in captured.out.splitlines()]
    assert ["0.5", "50.0%", "0.667", "0.667", "0.667"] in rows
    assert ["0.16", "66.7%", "0.750", "1.000", "0.667", "<-", "proposed"] in rows
    assert ["0.3", "to", "0.4", "1", "35.0%", "100.0%"] in rows
    assert "proposed threshold: 0.16 (best balance: keeps 100.0% of the right texts" in captured.out
    assert "expected calibration error: 0." in captured.out
    assert "ROC AUC: 0.889" in captured.out
    assert "take no threshold by this: this score can't be seen to tell" in captured.out, "six are few"


def test_json(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, ledger.parent, "--min-precision", "0.9")
    assert (found["texts"], found["right"], found["score"]) == (6, 3, ITM)
    assert found["proposal"]["threshold"] == 0.56
    assert found["roc_auc"] == pytest.approx(8 / 9)
    assert "with 3 right and 3 wrong texts" in found["doubt"]
    assert len(found["thresholds"]) == 101
    similarity = said(capsys, ledger, "--score", ITC)
    assert similarity["calibration"] == []
    assert -0.7 < similarity["proposal"]["threshold"] <= -0.3
    synthetic = said(capsys, ledger, "--source", "synthetic")
    assert (synthetic["texts"], synthetic["right"]) == (2, 1)


def test_labels_of_ones_own(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.csv"
    own.write_text("key,clean\n000,true\n001,false\n901,true\n777,true\n900,true\n")
    found = said(capsys, ledger, "--labels", own)
    assert (found["texts"], found["right"]) == (3, 2)
    own.write_text("key,text,clean\n000,A red cat!,1\n001,a blue dog,0\n002,something else,1\n")
    found = said(capsys, ledger, "--labels", own, "--source", "synthetic")
    assert (found["texts"], found["right"]) == (2, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("key,right\n000,true\n", "own.csv has no column clean; it has key, right"),
        ("key,clean\n000,perhaps\n", "own.csv: "),
        ("key,clean\n777,true\n", "labels none of the 7 web texts that have the score itm_probability"),
        ("key,clean\n000,true\n", "nothing to tell apart: all 1 labelled web texts"),
        ("", "own.csv can't be read as a CSV file"),
    ],
)
def test_labels_that_cant_be_used(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    (tmp_path / "own.csv").write_text(content)
    assert message in refused(capsys, ledger, "--labels", tmp_path / "own.csv")


def test_a_ledger_without_labels_or_score(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no score 'itm_prob'; did you mean 'itm_probability'?" in refused(
        capsys, ledger, "--score", "itm_prob"
    )
    shutil.rmtree(ledger.parents[1] / "emoji")
    assert "its run has no labels; name a table with --labels" in refused(capsys, ledger)
    assert "nowhere: there is no such file" in refused(capsys, ledger.with_name("nowhere"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a ledger, or human pairs with --pairs, and not both"),
        (["x", "--pairs", "y"], "name a ledger, or human pairs with --pairs, and not both"),
        (["--pairs", "y"], "--pairs needs --model"),
        (["x", "--model", "y"], "--model goes with --pairs: a ledger has its scores"),
        (["--pairs", "y", "--model", "z", "--labels", "l"], "--labels goes with a ledger"),
        (["x", "--plot", "p.pdf"], "--plot p.pdf: expected a name that ends in .html or .png"),
        (["x", "--plot", "no/p.png"], "--plot no/p.png: there is no folder no"),
        (["--pairs", "y.txt", "--model", "z"], "--pairs y.txt: expected a folder of shards"),
        (
            ["--pairs", "y", "--model", "z", "--score", "s"],
            "--score s: with --pairs it is itm_probability or",
        ),
    ],
)
def test_arguments_that_dont_go_together(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in refused(capsys, *arguments)


def test_a_page_and_a_picture(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, ledger, "--plot", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert '<p class="eyebrow">Calibration of a filter</p>' in page
    assert "Take no threshold by this: this score can" in page
    assert "0.16 (proposed)" in page
    assert not re.search(r'(?:src|href)="(?!#)', page)
    said(capsys, ledger, "--plot", tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or []}
    assert (0x0A, 0x6B, 0xA8) in colours  # the first series of the page's light scheme
    assert not colours & {(0x0A, 0x0B, 1), (0x0A, 0x0C, 1)}
    said(capsys, ledger, "--score", ITC, "--plot", tmp_path / "one.html")
    assert (tmp_path / "one.html").read_text(encoding="utf-8").count("<svg") == 1


def test_human_pairs_against_their_shuffles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_checkpoint(tmp_path / "model" / "checkpoint", ("itc", "itm"), 1)
    with ShardWriter(tmp_path / "pairs", "pairs") as shards:
        for n in range(6):
            shards.write(sample(n, f"a {('red', 'blue')[n % 2]} cat {n}"))
    pairs = ("--pairs", tmp_path / "pairs", "--model", tmp_path / "model" / "checkpoint")
    found = said(capsys, *pairs)
    assert (found["texts"], found["right"]) == (12, 6)
    assert found == said(capsys, *pairs, "--batch-size", "1")
    assert said(capsys, *pairs, "--count", "3")["texts"] == 6
    assert said(capsys, *pairs, "--score", ITC)["score"] == ITC


def test_the_scores_of_pairs_are_the_models(tmp_path: Path) -> None:
    from mmtk_capfilt.calibration.shuffled import judged_pairs

    from mmtk.data.readers.webdataset import WebDatasetReader
    from mmtk.inference import load

    save_checkpoint(tmp_path / "model" / "checkpoint", ("itc", "itm"), 1)
    with ShardWriter(tmp_path / "pairs", "pairs") as shards:
        for n in range(4):
            shards.write(sample(n, f"a cat {n}"))
            (tmp_path / f"{n}.png").write_bytes(sample(n).image)
    model = load(tmp_path / "model" / "checkpoint", task="match", device="cpu")
    found = judged_pairs(model, WebDatasetReader(tmp_path / "pairs"), ITM, 10)
    own = [model.match(tmp_path / f"{n}.png", [f"a cat {n}"])[0].probability for n in range(4)]
    assert found.scores[found.right].tolist() == pytest.approx(own, abs=1e-5)
    assert not np.allclose(found.scores[found.right], found.scores[~found.right])
