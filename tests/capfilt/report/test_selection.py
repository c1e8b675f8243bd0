from hypothesis import given, settings
from hypothesis import strategies as st
from mmtk_capfilt.ledger import LedgerRow
from mmtk_capfilt.report.selection import BOTH_DROPPED, BOTH_KEPT, FAILED, RESCUED, WEB_KEPT, choose

from tests.capfilt.report.samples import failed_row, ledger_table, pair, text_row


def outcomes(rows: list[LedgerRow], number: int = 100) -> dict[str, list[str]]:
    return {chosen.outcome: chosen.keys for chosen in choose(ledger_table(rows), number)}


def test_every_outcome() -> None:
    rows = [
        *pair("kept", 0.9, 0.9),
        *pair("rescued", 0.1, 0.9),
        *pair("web", 0.9, 0.1),
        *pair("dropped", 0.1, 0.1),
        failed_row("failed"),
        text_row("web-alone", "web", "text", 0.9),
        text_row("no-web", "synthetic", "text", 0.9),
    ]
    assert outcomes(rows) == {
        RESCUED: ["no-web", "rescued"],
        BOTH_KEPT: ["kept"],
        WEB_KEPT: ["web", "web-alone"],
        BOTH_DROPPED: ["dropped"],
        FAILED: ["failed"],
    }


def test_one_kept_web_text_of_several_counts_as_kept() -> None:
    rows = [
        text_row("a", "web", "bad", 0.1),
        text_row("a", "web", "good", 0.9),
        text_row("a", "synthetic", "x", 0.9),
    ]
    assert outcomes(rows)[BOTH_KEPT] == ["a"]


def test_pictures_with_human_texts_are_left_out() -> None:
    rows = [text_row("a", "human", "by a person", None), text_row("a", "synthetic", "x", 0.9)]
    assert not any(outcomes(rows).values())


def test_the_widest_gap_comes_first() -> None:
    rows = [
        *pair("small", 0.4, 0.6),
        *pair("wide", 0.01, 0.99),
        *pair("middle", 0.2, 0.8),
        *pair("wide2", 0.01, 0.99),
    ]
    assert outcomes(rows)[RESCUED] == ["wide", "wide2", "middle", "small"]


def test_others_are_spread_over_the_sorted_keys() -> None:
    rows = [row for number in range(100) for row in pair(f"{number:03d}", 0.9, 0.9)]
    assert outcomes(rows[::-1], 4)[BOTH_KEPT] == ["000", "025", "050", "075"]


def test_shares_and_totals() -> None:
    rows = [row for n in range(40) for row in (*pair(f"r{n}", 0.1, 0.9), *pair(f"k{n}", 0.9, 0.9))]
    rows += [row for n in range(40) for row in (*pair(f"w{n}", 0.9, 0.1), *pair(f"d{n}", 0.1, 0.1))]
    rows += [failed_row(f"f{n}") for n in range(40)]
    chosen = choose(ledger_table(rows), 48)
    assert [(c.outcome, c.total, len(c.keys)) for c in chosen] == [
        (RESCUED, 40, 23),
        (BOTH_KEPT, 40, 9),
        (WEB_KEPT, 40, 6),
        (BOTH_DROPPED, 40, 6),
        (FAILED, 40, 4),
    ]


def test_an_empty_ledger_and_failures_alone() -> None:
    assert all(not keys for keys in outcomes([]).values())
    assert outcomes([failed_row("b"), failed_row("a"), failed_row("a")])[FAILED] == ["a", "b"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), max_size=30), st.integers(1, 40))
def test_choice_is_full_and_depends_on_the_rows_alone(
    pictures: list[tuple[float, float, bool]], number: int
) -> None:
    rows = []
    for index, (web, synthetic, failed) in enumerate(pictures):
        rows += [failed_row(f"k{index}")] if failed else pair(f"k{index}", web, synthetic)
    chosen = choose(ledger_table(rows), number)
    keys = [key for group in chosen for key in group.keys]
    assert len(keys) == len(set(keys)) == min(number, len(pictures))
    assert sum(group.total for group in chosen) == len(pictures)
    assert choose(ledger_table(rows[::-1]), number) == chosen
