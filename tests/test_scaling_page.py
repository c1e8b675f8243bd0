"""docs/scaling.md: its Slurm script is bash and names what there is; its formulas are the benchmark's."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

from benchmarks.strategies import IN_SHARDS
from mmtk.commands import BUILT_IN
from mmtk.engine.configs import SavingConfig
from mmtk.stages.interrupt import SAVED, STOP_SIGNALS

PAGE = (Path(__file__).parents[1] / "docs" / "scaling.md").read_text("utf-8")
# What sbatch, srun and scontrol of Slurm 23.11 take, by their manuals.
SBATCH = {
    "job-name", "nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "time", "signal", "requeue",
    "open-mode",
}  # fmt: skip
SRUN = {"kill-on-bad-exit"}
SLURM_VARIABLES = {
    "JOB_NODELIST", "CPUS_PER_TASK", "PROCID", "LOCALID", "NTASKS", "JOB_ID",
}  # fmt: skip


def script() -> str:
    (found,) = re.findall(r"^```bash\n(#!/bin/bash\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return found


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_slurm_script_is_bash() -> None:
    checked = subprocess.run(["bash", "-n"], input=script(), text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_slurm_script_names_options_that_exist() -> None:
    text = script()
    assert set(re.findall(r"^#SBATCH --([\w-]+)", text, re.MULTILINE)) == SBATCH
    assert set(re.findall(r"srun --([\w-]+)", text)) == SRUN
    assert set(re.findall(r"\$SLURM_(\w+)", text)) == SLURM_VARIABLES
    assert set(re.findall(r"\bmmtk (\w+)", text)) == {"run"} <= {command.name for command in BUILT_IN}
    (signal,) = re.findall(r"--signal=(\w+)@\d+", text)
    assert f"SIG{signal}" in {one.name for one in STOP_SIGNALS}
    assert re.findall(r"-eq (\d+)", text) == [str(SAVED)]
    exported = set(re.findall(r"(?<!\$)\b([A-Z_]+)=", text))
    assert exported == {"MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS", "RANK", "LOCAL_RANK", "WORLD_SIZE"}


def test_torchruns_options_exist() -> None:
    known = {option for action in get_args_parser()._actions for option in action.option_strings}
    commands = re.findall(r"^torchrun (.*?)-m mmtk", PAGE.replace("\\\n", " "), re.MULTILINE)
    used = {option for command in commands for option in re.findall(r"--[\w-]+", command)}
    assert {"--rdzv-backend", "--max-restarts"} <= used <= known


def test_the_keys_of_saving_are_explained() -> None:
    table = PAGE.partition("| key of `saving` |")[2].partition("\n\n")[0]
    named = {name.partition(":")[0] for name in re.findall(r"^\| `([\w: ]+)` \|", table, re.MULTILINE)}
    assert named == {field.name for field in fields(SavingConfig)}


def test_formulas_are_the_benchmarks() -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)?) \| (4 P.*?) \|$", PAGE, re.MULTILINE)
    found = {}
    for names, cells in rows:
        parts = zip(("parameters", "gradients", "optimizer", "average"), cells.split(" | "), strict=False)
        shards = tuple(part for part, cell in parts if cell.endswith("/ N"))
        found |= dict.fromkeys(re.findall(r"\w+", names), shards)
    assert found == {name: tuple(shards) for name, shards in IN_SHARDS.items()}
