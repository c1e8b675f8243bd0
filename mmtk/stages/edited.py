"""Sees that the code of a stage that is done has been edited: of an editable install no version tells."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from mmtk.recipe.references import registrations
from mmtk.registry import OWN, Registry
from mmtk.types import ComponentNode


def edited(node: ComponentNode, registry: Registry, started: str) -> list[str]:
    """Name the distributions behind a node that are installed editable and were edited since a time.

    mmtk's own is not among them.

    Args:
        node: a stage's.
        started: ISO time at which the stage had its code.
    """
    packages = {
        (one.distribution, one.component.factory.partition(":")[0].partition(".")[0])
        for one in registrations(node, registry)
        if one.distribution != OWN and _is_editable(one.distribution)
    }
    then = datetime.fromisoformat(started).timestamp()
    newer = {
        name
        for name, package in packages
        if any(_changed(file) > then + 1 for file in _files(package))  # the time is in whole seconds
    }
    return sorted(newer)


def _is_editable(name: str) -> bool:
    try:
        origin = json.loads(distribution(name).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return False
    return bool(origin.get("dir_info", {}).get("editable"))


def _files(package: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(package)
    if spec is None:
        return
    if spec.submodule_search_locations is None and spec.origin:
        yield Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        yield from Path(folder).rglob("*.py")


def _changed(file: Path) -> float:
    """When a file was changed, in seconds since the epoch; 0 for one that is gone: an editor's link."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0
