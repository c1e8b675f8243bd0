"""What a strategy can't do here: ``mmtk check`` warns of it, and ``mmtk run`` ends before its first stage."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from mmtk.cli import main
from mmtk.plugins import load_plugins
from mmtk.recipe import check_recipe, load_recipe
from mmtk.stages.foresight import refusals

RECIPE = """
name: far
device: cpu
stages:
  first: {use: write, text: one}
  meet: {use: together}
"""
OFFLOAD = "stages.meet.strategy={use: fsdp2, cpu_offload: true}"
OFFLOAD_SAID = "stage 'meet': strategy 'fsdp2': cpu_offload moves shards off a GPU, and this run has none"
WARNING = "mmtk: warning: training on several processes of this machine would fail: "
CHECK_WITHOUT_TORCH = """
import sys
from mmtk.cli import main
code = main(sys.argv[1:])
sys.exit("imported torch" if "torch" in sys.modules else code)
"""


@pytest.fixture(autouse=True)
def recipe(probe: Path) -> None:
    (probe / "far.yaml").write_text(RECIPE)


def refused(strategy: str, ranks: int, *overrides: str) -> dict[str, str]:
    registry = load_plugins().registry
    document = load_recipe("far.yaml", [f"stages.meet.strategy={strategy}", *overrides])
    return refusals(check_recipe(document, registry), registry, ranks)


def test_a_check_warns_and_finds_nothing_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "far.yaml", OFFLOAD]) == 0
    said = capsys.readouterr()
    assert said.out == "far.yaml: 2 stages, nothing wrong\n"
    assert said.err == f"{WARNING}{OFFLOAD_SAID}\n"


@pytest.mark.parametrize("strategy", ["ddp", "single"])
def test_a_check_imports_no_torch_for_what_runs_anywhere(strategy: str) -> None:
    command = ["check", "far.yaml", f"stages.meet.strategy={{use: {strategy}}}"]
    result = subprocess.run(
        [sys.executable, "-c", CHECK_WITHOUT_TORCH, *command], check=False, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_a_run_ends_before_its_first_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "far.yaml", OFFLOAD]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"mmtk: {OFFLOAD_SAID}\n")
    assert not Path("runs/far/first").exists()


MISSPELT = (
    "the factory of stage 'misspelt' (from probe/mmtk-probe 1.0), mmtk_probe.stages:Wriet, can't be "
    "imported: AttributeError: module 'mmtk_probe.stages' has no attribute 'Wriet'"
)


def test_a_factory_that_cant_be_imported_ends_a_run_before_its_first_stage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    late = "stages.meet={use: misspelt, text: two}"
    assert main(["run", "far.yaml", late]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"mmtk: stage 'meet': {MISSPELT}\n")
    assert not Path("runs/far/first").exists()
    assert main(["run", "far.yaml", late, "--dry-run"]) == 0
    assert f"  would be refused before the first stage: {MISSPELT}\n" in capsys.readouterr().out
    assert main(["show", "stage", "misspelt"]) == 0
    assert f"It can't be used: {MISSPELT}\n" in capsys.readouterr().out
    assert main(["show", "stage", "write"]) == 0
    assert "can't be used" not in capsys.readouterr().out


def let_them_end() -> None:
    """Give the stage, once it has begun, the file that ends it."""
    folder = Path("runs/far/meet")
    while not (folder / "rank-0").exists():
        time.sleep(0.02)
    (folder / "go").touch()


def test_a_stage_that_is_done_is_not_asked(capsys: pytest.CaptureFixture[str]) -> None:
    helper = threading.Thread(target=let_them_end, daemon=True)
    helper.start()
    assert main(["run", "far.yaml"]) == 0
    helper.join()
    assert main(["run", "far.yaml", OFFLOAD]) == 0
    assert capsys.readouterr().err == ""


def test_what_is_refused_depends_on_the_number_of_ranks() -> None:
    assert refused("{use: single}", 1) == refused("{use: ddp}", 2) == refused("{use: fairscale_sdp}", 1) == {}
    assert refused("{use: single}", 2)["meet"].startswith("strategy 'single' trains on one rank, and this")
    assert refused("{use: fairscale_sdp}", 2)["meet"].startswith("strategy 'fairscale_sdp' needs CUDA")
    assert refused("{use: fairscale_fsdp}", 2)["meet"].startswith("strategy 'fairscale_fsdp' needs CUDA")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mmtk_fairscale.oss", raising=False)
    monkeypatch.setitem(sys.modules, "fairscale.optim", None)
    found = refused("{use: fairscale_oss}", 2)["meet"]
    assert "the factory of strategy 'fairscale_oss'" in found
    assert "can't be imported: ModuleNotFoundError: import of fairscale.optim halted" in found


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_missing_is_named() -> None:
    assert refused("{use: fsdp2}", 2, "device=cuda")["meet"].startswith("device 'cuda' was asked for, but")
