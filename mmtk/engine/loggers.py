"""Where a run's figures go.

They get them as plugins do, from the hook ``mmtk_metrics_logged``: see ``mmtk.engine.fed_loggers``.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmtk.errors import StageError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

METRICS = "metrics.jsonl"


class JsonLines:
    """One JSON object per logged step in ``folder/metrics.jsonl``, with ``step`` and the figures."""

    required = True  # the file is an output of the stage

    def __init__(self, *, folder: Path) -> None:
        self._path = folder / METRICS
        self._file = self._path.open("a", encoding="utf-8")

    def rewind(self, step: int) -> None:
        """Forget the lines after ``step``: a killed try wrote them, and the resumed one writes them again."""
        self._file.close()
        forget_after(step, self._path)
        self._file = self._path.open("a", encoding="utf-8")

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self._file.write(json.dumps({"step": step, **figures}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def forget_after(step: int, path: Path) -> None:
    """Leave out of a file of JSON lines with a ``step`` those after ``step``, and what a kill cut short."""
    kept = [line for line in path.read_text("utf-8").splitlines() if _step_of(line) <= step]
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text("".join(f"{line}\n" for line in kept), "utf-8")
    partial.replace(path)


def _step_of(line: str) -> float:
    """The step of a line; infinity for a line that a kill cut short."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


class TensorBoard:
    """Scalars in ``folder/tensorboard``."""

    def __init__(self, *, folder: Path) -> None:
        self._folder = folder / "tensorboard"
        self._purge_step: int | None = None
        self._writer: SummaryWriter | None = None

    def rewind(self, step: int) -> None:
        """Make TensorBoard hide what a killed try logged after ``step``."""
        if self._folder.exists():
            self._purge_step = step + 1

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=self._purge_step)
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class WeightsAndBiases:
    """Figures in a run of Weights & Biases (the extra ``mmtk[wandb]``).

    The run's id lies in ``folder/wandb_id.txt``: a resumed stage goes on in the same run. W&B takes no step
    twice, so what a killed try logged behind the saved state stays, and is not logged again.
    """

    def __init__(
        self,
        *,
        folder: Path,
        project: str,
        entity: str | None,
        name: str | None,
        mode: Literal["online", "offline"],
    ) -> None:
        """Raises StageError when wandb isn't installed."""
        try:
            import wandb
        except ImportError as error:
            raise StageError("logger 'wandb' needs wandb: pip install 'mmtk[wandb]'") from error
        id_file = folder / "wandb_id.txt"
        if not id_file.exists():
            id_file.write_text(uuid.uuid4().hex, "utf-8")
        self._run = wandb.init(
            project=project,
            entity=entity,
            name=name or f"{folder.parent.name}/{folder.name}",
            id=id_file.read_text("utf-8"),
            resume="allow",
            mode=mode,
            dir=str(folder),
        )

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        self._run.finish()
