"""What the stage ``train`` makes, says and counts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from mmtk.api import hookimpl
from mmtk.engine.configs import SavingConfig
from mmtk.engine.loggers import JsonLines
from mmtk.engine.trainer import Trainer
from mmtk.engine.weights import read_weights
from mmtk.errors import StageError
from mmtk.events import (
    HOOKS,
    CheckpointSaved,
    EpochEnded,
    Listener,
    Listeners,
    MetricsLogged,
    StepEnded,
)
from mmtk.types import HeadOutput
from tests.host.engine.stage_runs import (
    ACCUMULATED,
    metrics,
    run,
    same,
    weights,
    without_times,
)
from tests.host.engine.tiny import NamingHead, part, train_fields


def test_outputs(through: Path) -> None:
    assert sorted(path.name for path in through.iterdir()) == [
        "checkpoint",
        "metrics.jsonl",
        "quarantine.jsonl",
        "timing.json",
    ]
    assert sorted(path.name for path in (through / "checkpoint").iterdir()) == [
        "learner.json",
        "weights.safetensors",
    ]
    kept = json.loads((through / "checkpoint" / "learner.json").read_text())
    assert (kept["image_transform"], kept["text_transform"]) == ({"use": "pixels"}, {"use": "as_is"})
    assert (through / "quarantine.jsonl").read_text() == ""
    assert not any("momentum" in name or "twin" in name for name in weights(through))


def test_plugins_hear_of_steps_epochs_figures_and_states(tmp_path: Path, through: Path) -> None:
    events: list[Any] = []

    def note(event: Any) -> list[object]:
        events.append(event)
        return []

    run(tmp_path, listeners=Listeners({hook: (Listener("a test", note),) for hook in HOOKS.values()}))
    of_type = {kind: [one for one in events if isinstance(one, kind)] for kind in HOOKS}
    steps = of_type[StepEnded]
    assert [one.step for one in steps] == list(range(1, len(steps) + 1))
    assert all("loss" in one.figures for one in steps)
    assert [one.epoch for one in of_type[EpochEnded]] == list(range(1, len(of_type[EpochEnded]) + 1))
    assert {one.step for one in of_type[CheckpointSaved]} >= {one.step for one in of_type[EpochEnded]}
    logged = [{"step": one.step, **one.figures} for one in of_type[MetricsLogged]]
    assert without_times(logged) == without_times(metrics(through))
    assert weights(tmp_path).keys() == weights(through).keys()


class Unsteady:
    """A logger that fails at a step, and when it is closed. It hears of epochs as well."""

    def __init__(self, *, folder: Path, events: list[Any], required: bool = False) -> None:
        assert folder.is_dir()
        self.required = required
        self._events = events

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        if step == 6:
            raise ConnectionError(f"no network at step {step}")
        self._events.append((step, dict(figures)))

    @hookimpl
    def mmtk_epoch_ended(self, event: EpochEnded) -> None:
        self._events.append(event.epoch)

    def close(self) -> None:
        self._events.append("closed")
        raise ConnectionError("no network")


def loggers(**options: Any) -> dict[str, Any]:
    return {
        "net": part("logger", "unsteady", Unsteady, **options),
        "jsonl": part("logger", "jsonl", JsonLines),
    }


def test_a_logger_that_fails_is_named_and_left_out(tmp_path: Path, through: Path) -> None:
    events: list[Any] = []
    listeners = Listeners()
    said: list[str] = []
    listeners.say = said.append
    run(tmp_path, listeners=listeners, loggers=loggers(events=events))
    lines = metrics(tmp_path)
    assert without_times(lines) == without_times(metrics(through))
    first = dict(lines[0])
    assert events == [(first.pop("step"), first), 1, 2, 3, "closed"]
    assert said == [
        "logger 'net' failed in its hook mmtk_metrics_logged, which is not called again: "
        "ConnectionError: no network at step 6",
        "logger 'net' failed when it was closed: ConnectionError: no network",
    ]


def test_a_logger_that_writes_an_output_ends_the_stage_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="no network"):
        run(tmp_path, loggers=loggers(events=[], required=True))
    assert JsonLines.required, "metrics.jsonl is an output of the stage"


def test_metrics(through: Path) -> None:
    lines = metrics(through)
    assert [line["step"] for line in lines] == [3, 6, 9, 12]
    assert [line["epoch"] for line in lines] == [0.75, 1.5, 2.25, 3.0]
    assert set(lines[0]) == {
        "step",
        "epoch",
        "loss",
        "loss/naming",
        "loss/noisy",
        "naming/accuracy",
        "gradient_norm",
        "lr",
        "samples_per_second",
        "data_wait",
    }
    assert lines[-1]["loss/naming"] < lines[0]["loss/naming"]
    assert all(line["samples_per_second"] > 0 and 0 <= line["data_wait"] <= 1 for line in lines)


def test_same_seed_same_weights_other_seed_other_weights(through: Path, tmp_path: Path) -> None:
    run(tmp_path / "again")
    run(tmp_path / "other", seed=6)
    assert same(weights(through), weights(tmp_path / "again"))
    assert not same(weights(through), weights(tmp_path / "other"))


@pytest.mark.parametrize(("size", "steps"), [(7, "(3 left over) in 3 steps"), (24, "in 1 step")])
def test_left_over_samples_are_told(tmp_path: Path, size: int, steps: str) -> None:
    data = dataclasses.replace(train_fields()["data"], batch_size=size)
    assert run(tmp_path, data=data)[0].endswith(f"an epoch is 24 samples {steps}")


def test_max_steps(tmp_path: Path) -> None:
    run(tmp_path, max_steps=5)
    assert [line["step"] for line in metrics(tmp_path)] == [3, 5]


def test_max_steps_beyond_the_epochs(through: Path, tmp_path: Path) -> None:
    run(tmp_path, max_steps=1000)
    assert same(weights(through), weights(tmp_path))


def test_without_momentum(tmp_path: Path) -> None:
    run(tmp_path, momentum=None, epochs=1)
    assert metrics(tmp_path)[-1]["step"] == 4


def test_non_finite_losses_are_skipped_noted_and_stop_the_stage_in_the_end(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"step 4: .*head 'naming' gave (nan|inf)"):
        run(
            tmp_path,
            max_nonfinite=2,
            optimizer=part(
                "optimizer",
                "sgd",
                lambda: lambda named: torch.optim.SGD([parameter for _, parameter in named], lr=1e30),
            ),
            schedule=part("schedule", "c", lambda: lambda *_: 1.0),
        )
    assert not (tmp_path / "checkpoint").exists()
    noted = [json.loads(line) for line in (tmp_path / "nonfinite.jsonl").read_text().splitlines()]
    assert [line["step"] for line in noted] == [2, 3, 4]
    assert len(noted[0]["keys"]) == 6
    assert noted[0]["figures"]["loss/naming"] in ("nan", "inf")


def test_accumulation_ends_an_epoch_with_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[list[int]] = []
    step = Trainer.step
    with monkeypatch.context() as patch:
        patch.setattr(
            Trainer,
            "step",
            lambda self, batches, number: sizes.append([*map(len, batches)]) or step(self, batches, number),
        )
        assert run(tmp_path, accumulate=3) == [ACCUMULATED]
    assert sizes == [[6, 6, 6], [6]] * 3
    assert [line["epoch"] for line in metrics(tmp_path)] == [1.5, 3.0]


@pytest.mark.parametrize("steps", [12, 6], ids=["whole epochs", "ends between two states"])
def test_the_best_learner_is_a_checkpoint_beside_the_last_one(tmp_path: Path, steps: int) -> None:
    rising = part(
        "schedule", "r", lambda: lambda step, *_: 0.2 if step < 4 else 40.0
    )  # it diverges behind epoch 1
    kept = SavingConfig(best_by="loss", keep_last=1)
    run(tmp_path / "best", saving=kept, schedule=rising, max_steps=steps)
    run(tmp_path / "first", schedule=rising, max_steps=4)
    best = read_weights(tmp_path / "best" / "best" / "weights.safetensors")
    assert same(best, weights(tmp_path / "first"))
    assert not same(best, weights(tmp_path / "best"))
    assert (tmp_path / "best" / "best" / "learner.json").exists()


class Rows(NamingHead):
    """A head that forgets the mean."""

    def forward(self, context: Any) -> Any:
        return HeadOutput(torch.stack([super().forward(context).loss] * 6), {})


class Pair(NamingHead):
    """A head that returns what only looks like an output."""

    def forward(self, context: Any) -> Any:
        return tuple(super().forward(context))


class Bug(NamingHead):
    """A head with a mistake."""

    def forward(self, context: Any) -> Any:
        raise IndexError(len(context.batch))


def test_a_head_that_returns_no_scalar_loss_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError) as caught:
        run(tmp_path / "rows", heads={"own": part("head", "rows", Rows)})
    assert str(caught.value) == (
        "head 'rows' (from tiny/tiny-parts 1.0): expected a scalar tensor for loss/own, got the shape (6,)"
    )
    with pytest.raises(StageError) as caught:
        run(tmp_path / "pair", heads={"own": part("head", "pair", Pair)})
    assert str(caught.value) == (
        "head 'pair' (from tiny/tiny-parts 1.0) must return a HeadOutput with a loss, not a tuple"
    )


def test_a_bug_of_a_head_is_noted_with_its_plugin(tmp_path: Path) -> None:
    with pytest.raises(IndexError) as caught:
        run(tmp_path, heads={"own": part("head", "bug", Bug)})
    assert caught.value.__notes__ == [
        "This happened when head 'bug' (from tiny/tiny-parts 1.0) computed loss/own."
    ]
