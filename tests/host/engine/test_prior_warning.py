from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from mmtk.engine.prior_warning import PriorWatch

ITM_PRIOR = -(math.log(1 / 3) / 3 + 2 * math.log(2 / 3) / 3)


def warnings_of(watch: PriorWatch, losses: list[float], head: str = "itm") -> list[tuple[int, str]]:
    return [(step, text) for step, loss in enumerate(losses, 1) for text in watch.observe({head: loss})]


def test_warns_once_after_five_hundred_steps_at_the_prior() -> None:
    assert round(ITM_PRIOR, 4) == 0.6365
    noisy = [ITM_PRIOR + (0.05 if step % 2 else -0.05) for step in range(2000)]
    found = warnings_of(PriorWatch({"itm": ITM_PRIOR}, steps_per_epoch=10), [ITM_PRIOR] * 50 + noisy)
    assert [step for step, _ in found] == [500]
    assert "loss/itm has stayed at 0.63" in found[0][1]
    assert "0.6365" in found[0][1]
    assert "learning rate" in found[0][1]


def test_waits_for_a_whole_epoch() -> None:
    found = warnings_of(PriorWatch({"itm": ITM_PRIOR}, steps_per_epoch=900), [ITM_PRIOR] * 1000)
    assert [step for step, _ in found] == [900]


def test_silent_when_the_loss_falls_through_the_prior() -> None:
    falling = [1.0 - 0.0005 * step for step in range(1500)]
    assert warnings_of(PriorWatch({"itm": ITM_PRIOR}, 10), falling) == []


def test_counts_anew_after_leaving_the_prior() -> None:
    watch = PriorWatch({"itm": ITM_PRIOR}, 10)
    assert warnings_of(watch, [ITM_PRIOR] * 499) == []
    assert warnings_of(watch, [0.1] * 5) == []
    # Five steps took the average 0.5365 * (1 - 0.98^5) = 0.0515 away; 82 steps bring it back to within 0.01.
    assert [step for step, _ in warnings_of(watch, [ITM_PRIOR] * 700)] == [82 + 499]


def test_each_head_for_itself() -> None:
    watch = PriorWatch({"itm": ITM_PRIOR, "match": 0.5}, 10)
    texts = [text for _ in range(600) for text in watch.observe({"itm": 0.2, "match": 0.5, "lm": ITM_PRIOR})]
    assert len(texts) == 1
    assert "loss/match" in texts[0]


@given(st.lists(st.floats(0, 5).filter(lambda loss: abs(loss - ITM_PRIOR) > 0.3), min_size=1, max_size=50))
def test_never_before_its_time(losses: list[float]) -> None:
    assert warnings_of(PriorWatch({"itm": ITM_PRIOR}, 10), losses) == []
