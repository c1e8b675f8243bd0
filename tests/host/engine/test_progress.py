from __future__ import annotations

import io

import pytest
from rich.console import Console

from mmtk.engine.progress import LineDisplay, LiveDisplay, describe, display

FIGURES = {"loss": 2.5, "loss/itc": 1.8, "loss/itm": 0.7, "epoch": 1.5, "itm/accuracy": 0.66}


def test_describe() -> None:
    assert describe(FIGURES) == "epoch 1.50, loss 2.500 (itc 1.800, itm 0.700)"
    speed = {"samples_per_second": 211.4, "data_wait": 0.12}
    assert describe(FIGURES | speed).endswith("211 samples/s, 12% waiting for data")
    assert describe(FIGURES | {"overflows": 2.0}).endswith(", 2 overflows")
    assert "waiting" not in describe(FIGURES | {"data_wait": 0.01})


def test_a_plain_line_every_fifteen_seconds() -> None:
    said: list[str] = []
    now = 0.0
    with LineDisplay(400, 100, said.append, clock=lambda: now) as shown:
        for step in range(101, 141):
            now += 1.0
            shown.update(step, FIGURES)
        shown.say("a warning")
    assert [line.split(",")[0] for line in said] == [
        "step 115/400",
        "step 130/400",
        "a warning",
    ]
    assert said[0].endswith("4:45 left")  # 285 steps at one a second
    assert said[1].endswith("4:30 left")


def test_live_display_shows_step_figures_and_messages() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=160)
    with LiveDisplay("pretrain", 400, 0, console) as shown:
        shown.update(3, FIGURES)
        shown.say("warning: [/itm] sits at its prior")
    text = screen.getvalue()
    assert "3/400" in text
    assert "loss 2.500" in text
    assert "warning: [/itm] sits at its prior" in text


def test_plain_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)
    assert isinstance(display("pretrain", 10, 0, print), LineDisplay)


def test_live_display_lets_no_message_act_on_the_terminal() -> None:
    screen = io.StringIO()
    with LiveDisplay("pretrain", 400, 0, Console(file=screen, force_terminal=True, width=160)) as shown:
        shown.say("key \x1b]0;owned\x07 \u202e :cat: [red]")
    assert r"key \x1b]0;owned\x07 \u202e :cat: [red]" in screen.getvalue()
