"""Runs of a pass with the step of ``work_log``, in processes that a test may kill."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from mmtk.data.shards import ShardWriter
from tests.small_learner import sample

ROOT = Path(__file__).parents[2]


def install_plugin(folder: Path) -> None:
    """Make a distribution of ``work_log`` in ``folder``, which is to be on the Python path."""
    info = folder / "work_log-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: work-log\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mmtk]\nwork_log = tests.capfilt.work_log\n")


def write_pairs(folder: Path, images: int) -> None:
    with ShardWriter(folder, "web") as shards:
        for number in range(images):
            shards.write(sample(number))


class LoggedRun:
    """A run of its own below ``folder``, with the pairs in ``folder/web`` and the plugin in ``site``."""

    def __init__(self, folder: Path, name: str, executor: dict[str, Any], **step: Any) -> None:
        self.folder = folder / name
        self._site = folder / "site"
        self.log = folder / f"{name}-log"
        self.log.mkdir()
        data = {
            "reader": {"use": "webdataset", "path": str(folder / "web")},
            "image_transform": {"use": "blip_test", "size": 8},
            "batch_size": 2,
        }
        stage = {
            "use": "capfilt",
            "data": data,
            "steps": [{"use": "logged", "log": str(self.log), **step}],
            "part_size": 4,
            "executor": executor,
        }
        recipe = {
            "name": "logged",
            "seed": 5,
            "device": "cpu",
            "run_dir": str(self.folder),
            "stages": {"capfilt": stage},
        }
        self._recipe = folder / f"{name}.yaml"
        self._recipe.write_text(yaml.safe_dump(recipe), encoding="utf-8")

    def start(self) -> subprocess.Popen[str]:
        """Start ``mmtk run``."""
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{self._site}", "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", "mmtk", "run", str(self._recipe)],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[str], code: int = 0) -> str:
        """Wait for the end; return what was printed."""
        printed, _ = process.communicate(timeout=180)
        assert process.returncode == code, printed
        return printed

    def begun(self) -> list[tuple[int, str]]:
        """Who began which image: process and key, the earliest first."""
        files = sorted(self.log.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return [(int(pid), key) for pid, _, key in (path.name.partition("-") for path in files)]

    def result(self) -> dict[str, bytes]:
        """What it has made, byte for byte."""
        stage = self.folder / "capfilt"
        assert not [*stage.rglob(".*")]
        files = [*(stage / "dataset").iterdir(), *stage.glob("*.parquet"), *stage.glob("*.jsonl")]
        files.append(stage / "funnel.json")
        return {path.name: path.read_bytes() for path in files}
