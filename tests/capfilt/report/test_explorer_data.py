import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmtk_capfilt.report.explorer_data import (
    BINS,
    choose_images,
    images_data,
    rows_of,
    score_edges,
    scores_data,
    texts_data,
)
from mmtk_capfilt.report.explorer_truth import Label

from tests.capfilt.report.samples import failed_row, ledger_table, pair, text_row


def column(texts: dict, name: str) -> list[str]:  # type: ignore[type-arg]
    return [texts[name]["names"][code] for code in texts[name]["codes"]]


def test_images_are_spread_evenly_in_the_ledger_s_order() -> None:
    ledger = ledger_table([row for number in range(10) for row in pair(f"k{number}", 0.9, 0.9)])
    assert choose_images(ledger, 5) == ["k0", "k2", "k4", "k6", "k8"]
    assert choose_images(ledger, 100) == [f"k{number}" for number in range(10)]
    assert choose_images(ledger_table([]), 5) == []


def test_every_text_of_a_chosen_image_and_no_other() -> None:
    ledger = ledger_table([*pair("b", 0.1, 0.9), *pair("a", 0.9, 0.2), text_row("b", "web", "second", 0.75)])
    texts = texts_data(rows_of(ledger, ["b"]), {})
    assert texts["text"] == ["web text of b", "synthetic text of b", "second"]
    assert texts["image"] == [0, 0, 0]
    assert column(texts, "source") == ["web", "synthetic", "web"]
    assert column(texts, "decision") == ["dropped", "kept", "kept"]
    assert column(texts, "reason") == ["itm_probability below 0.5", "", ""]
    assert texts["final"] == [0, 0, 0]


def test_an_image_that_failed_is_a_row_without_a_text() -> None:
    texts = texts_data(rows_of(ledger_table([failed_row("x", "unreadable")]), ["x"]), {})
    assert (texts["text"], column(texts, "source"), column(texts, "reason")) == (
        [""],
        ["image"],
        ["unreadable"],
    )
    assert (column(texts, "decision"), texts["final"]) == (["failed"], [1])


def test_known_noise_is_the_web_texts_alone() -> None:
    rows = rows_of(ledger_table([*pair("a", 0.1, 0.9), *pair("b", 0.9, 0.9)]), ["a", "b"])
    labels = {"a": Label("swap", "a lion")}
    assert column(texts_data(rows, labels), "noise") == ["swap", "", "", ""]
    assert images_data(rows, ["a", "b"], labels)["label"] == ["a lion", ""]


def test_an_image_s_shard_is_named_without_its_folder() -> None:
    ledger = ledger_table(pair("/data/web/7", 0.9, 0.9))
    shard = images_data(rows_of(ledger, ["/data/web/7"]), ["/data/web/7"], {})["shard"]
    assert shard == {"names": ["7.tar"], "codes": [0]}


def test_texts_are_cut_and_cleaned() -> None:
    ledger = ledger_table([text_row("a", "web", "y" * 5000, 0.9), text_row("a", "web", "a\x00b", 0.9)])
    texts = texts_data(rows_of(ledger, ["a"]), {})["text"]
    assert texts == ["y" * 2000 + "… (5,000 characters)", "a\ufffdb"]


def test_scores_that_no_text_has_are_left_out() -> None:
    rows = rows_of(ledger_table(pair("a", 1 / 3, 0.75), "clip"), ["a"])
    itm, itc = scores_data(rows)
    assert (itm["name"], itm["label"], itm["values"]) == (
        "itm_probability",
        "ITM probability",
        [0.333333, 0.75],
    )
    assert itm["thresholds"] == {"web": 0.5}
    assert (itc["name"], itc["values"], itc["thresholds"]) == ("itc_similarity", [0.166667, 0.375], {})


def test_a_score_that_is_no_number_is_none() -> None:
    rows = rows_of(ledger_table([*pair("a", math.nan, 0.75), text_row("b", "web", "x", None)]), ["a", "b"])
    assert scores_data(rows)[0]["values"] == [None, 0.75, None]


def test_probabilities_have_twenty_bins() -> None:
    edges = score_edges(0.2, 0.3, probability=True)
    assert (edges[0], edges[1], edges[-1], len(edges)) == (0, 0.05, 1, BINS + 1)


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_bins_cover_every_score(low: float, width: float) -> None:
    low, high = (float(f"{value:.6g}") for value in (low, low + width))
    edges = score_edges(low, high, probability=False)
    assert edges == sorted(edges)
    assert 2 <= len(edges) <= BINS + 3
    slack = (edges[-1] - edges[0]) * 1e-3
    assert edges[0] - slack <= low <= high <= edges[-1] + slack


@pytest.mark.parametrize("value", [0.0, 0.25, -3.0])
def test_one_score_has_a_bin(value: float) -> None:
    edges = score_edges(value, value, probability=False)
    assert edges[0] < value < edges[-1]
