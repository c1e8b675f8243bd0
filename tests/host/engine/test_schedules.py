from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtk.engine.schedules import BlipStep, Constant, CosineEpochs, WarmupCosine


def test_warmup_cosine_figures() -> None:
    schedule = WarmupCosine(warmup_steps=10, start=0.1, floor=0.2)
    factors = [schedule(step, 7, 110) for step in range(110)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[5] == pytest.approx(0.55)
    assert factors[10] == 1.0
    assert factors[60] == pytest.approx(0.6)  # half-way: the mean of 1 and the floor
    assert factors[109] == pytest.approx(0.2, abs=1e-3)
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_blip_step_matches_blips_pretraining_rates() -> None:
    schedule, peak, per_epoch = BlipStep(), 3e-4, 24_000
    assert peak * schedule(0, per_epoch, 480_000) == pytest.approx(1e-6)
    assert peak * schedule(1500, per_epoch, 480_000) == pytest.approx((1e-6 + 3e-4) / 2)
    assert peak * schedule(3000, per_epoch, 480_000) == pytest.approx(3e-4)
    assert peak * schedule(per_epoch - 1, per_epoch, 480_000) == pytest.approx(3e-4)
    assert peak * schedule(per_epoch, per_epoch, 480_000) == pytest.approx(2.7e-4)
    assert peak * schedule(19 * per_epoch, per_epoch, 480_000) == pytest.approx(4.05e-5, rel=1e-3)
    assert peak * schedule(200 * per_epoch, per_epoch, 480_000) == pytest.approx(1e-6)


def test_blip_step_with_the_papers_decay() -> None:
    assert 3e-4 * BlipStep(decay=0.85)(19 * 24_000, 24_000, 480_000) == pytest.approx(1.37e-5, rel=1e-2)


def test_blip_step_warms_up_across_short_epochs_without_a_jump() -> None:
    schedule = BlipStep(warmup_steps=300)
    factors = [schedule(step, 100, 2000) for step in range(2000)]
    steps_up = [after - before for before, after in itertools.pairwise(factors) if after > before]
    assert max(steps_up) <= 1 / 300 + 1e-9
    assert factors[300] == pytest.approx(0.9**3)


def test_cosine_epochs_matches_blips_fine_tuning_rates() -> None:
    schedule = CosineEpochs()
    factors = [schedule(step, 10, 50) for step in range(50)]
    expected = [1.0, 0.9045085, 0.6545085, 0.3454915, 0.0954915]
    assert factors == pytest.approx([rate for rate in expected for _ in range(10)])


def test_cosine_epochs_with_an_unfinished_last_epoch() -> None:
    assert CosineEpochs(floor=0.5)(20, 10, 25) == pytest.approx(0.5 + 0.5 * 0.25)


def test_cosine_epochs_matches_albefs_pretraining_rates() -> None:
    schedule, peak, per_epoch = CosineEpochs(floor=0.1, warmup_steps=2000, start=0.1), 1e-4, 27_000
    total = 30 * per_epoch
    assert peak * schedule(0, per_epoch, total) == pytest.approx(1e-5)
    assert peak * schedule(1000, per_epoch, total) == pytest.approx(5.5e-5)
    assert peak * schedule(2000, per_epoch, total) == pytest.approx(1e-4)
    assert peak * schedule(per_epoch - 1, per_epoch, total) == pytest.approx(1e-4)
    assert peak * schedule(15 * per_epoch, per_epoch, total) == pytest.approx(5.5e-5)
    assert peak * schedule(total - 1, per_epoch, total) == pytest.approx(1.0246e-5, rel=1e-3)


def test_constant() -> None:
    schedule = Constant(warmup_steps=4, start=0.5)
    assert [schedule(step, 2, 6) for step in range(6)] == [0.5, 0.625, 0.75, 0.875, 1.0, 1.0]
    assert Constant()(0, 1, 1) == 1.0


@given(
    schedule=st.one_of(
        st.builds(
            WarmupCosine, warmup_steps=st.integers(0, 50), start=st.floats(0, 1), floor=st.floats(0, 1)
        ),
        st.builds(
            BlipStep,
            warmup_steps=st.integers(0, 50),
            start=st.floats(0, 1),
            decay=st.floats(0.01, 1),
            floor=st.floats(0, 1),
        ),
        st.builds(
            CosineEpochs, floor=st.floats(0, 1), warmup_steps=st.integers(0, 50), start=st.floats(0, 1)
        ),
        st.builds(Constant, warmup_steps=st.integers(0, 50), start=st.floats(0, 1)),
    ),
    per_epoch=st.integers(1, 40),
    epochs=st.integers(1, 5),
)
def test_factors_stay_between_zero_and_one(schedule, per_epoch: int, epochs: int) -> None:
    total = per_epoch * epochs
    assert all(0 <= schedule(step, per_epoch, total) <= 1 + 1e-12 for step in range(total))
