"""Distributions from outside, which tests install with pip and use in processes of their own."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = Path(__file__).parent / "plugins"


def install(folder: Path, *sources: Path) -> Path:
    """Have pip install distributions, from copies, because building writes into a source; return where."""
    ignored = shutil.ignore_patterns("__pycache__")
    copies = [shutil.copytree(source, folder / "source" / source.name, ignore=ignored) for source in sources]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([*command, "--target", folder / "site", *copies], check=True)
    return folder / "site"


def mmtk(*arguments: str, site: Path | None, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, with ``site`` on its path or without it."""
    paths = filter(None, [str(site or ""), os.environ.get("PYTHONPATH")])
    settings = {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "mmtk", *arguments],
        cwd=cwd,
        env=os.environ | settings,
        check=False,
        capture_output=True,
        text=True,
    )


def imported_from_mmtk(source: Path) -> set[str]:
    """The modules of mmtk that a distribution imports from."""
    imported = {
        node.module
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    }
    return {module for module in imported if module and module.startswith("mmtk")}
