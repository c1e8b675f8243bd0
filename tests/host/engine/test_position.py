from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.engine.position import Course, Origin, Place


def batches_left(samples: int, batch: int) -> Callable[[int], int]:
    def left(taken: int) -> int:
        rest = max(samples - taken, 0)
        return int(rest > 0) if samples < batch else rest // batch

    return left


def course(samples: int, batch: int, accumulate: int = 1, **more: object) -> Course:
    options: dict = {"epochs": 3} | more
    return Course(
        step_size=batch * accumulate,
        batches_left=batches_left(samples, batch),
        accumulate=accumulate,
        **options,
    )


def test_steps_of_an_undisturbed_run() -> None:
    plain = course(25, 4, accumulate=4)  # 6 batches: a step of 4 and one of 2
    assert (plain.steps_per_epoch, plain.total_steps) == (2, 6)
    assert [plain.place(step) for step in range(4)] == [Place(0, 0), Place(0, 16), Place(1, 0), Place(1, 16)]
    assert [plain.scheduled(step) for step in range(7)] == list(range(7))
    assert [plain.ends_epoch(step) for step in range(1, 5)] == [False, True, False, True]
    assert course(25, 4, max_steps=5).total_steps == 5
    assert course(3, 8).total_steps == 3


def test_on_half_the_ranks_an_epoch_has_twice_the_steps_and_goes_on_where_it_was() -> None:
    before = course(64, 16)
    place = before.place(6)
    assert place == Place(1, 32)
    after = course(64, 8, origin=Origin(6, *place))
    assert after.place(6) == Place(1, 32)
    assert after.place(10) == Place(2, 0)
    assert after.total_steps == 6 + 4 + 8
    assert [after.scheduled(step) for step in (6, 10, 18)] == [12, 16, 24]
    assert after.scheduled(6) / after.steps_per_epoch == before.scheduled(6) / before.steps_per_epoch


@settings(max_examples=200, deadline=None)
@given(
    samples=st.integers(1, 60),
    batches=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    accumulate=st.integers(1, 3),
    stops=st.lists(st.integers(1, 20), max_size=2),
)
def test_whatever_the_sizes_no_sample_comes_twice_or_is_left_out(
    samples: int, batches: list[int], accumulate: int, stops: list[int]
) -> None:
    """Walk through a run that changes its batch size where it stops; look at each epoch's samples."""
    now = course(samples, batches[0], accumulate)
    step, stop_at = 0, list(stops)
    taken: dict[int, list[range]] = {}
    sizes = iter(batches[1:])
    while step < now.total_steps:
        place = now.place(step)
        left = min(now.batches_left(place.taken), accumulate)
        batch = now.step_size // accumulate
        taken.setdefault(place.epoch, []).append(range(place.taken, min(place.taken + left * batch, samples)))
        step += 1
        if stop_at and step >= stop_at[0] and step < now.total_steps:
            stop_at.pop(0)
            now = course(samples, next(sizes, batch), accumulate, origin=Origin(step, *now.place(step)))
    for parts in taken.values():
        seen = [sample for part in parts for sample in part]
        assert seen == list(range(len(seen)))  # in order, from the first one, without a gap or a repetition
        assert len(seen) > samples - max(max(batches), 1) or samples < max(batches)
    assert now.scheduled(step) == now.steps_per_epoch * 3
