"""What a stage's result depends on, as one stable word."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmtk.data.readers.addresses import INDEX_SUFFIX
from mmtk.recipe.build import to_plain
from mmtk.recipe.paths import is_input, matches
from mmtk.recipe.references import leaves, registrations
from mmtk.registry import Registry
from mmtk.types import ComponentNode

SMALL = 64 * 2**20


def fingerprint(
    *,
    node: Mapping[str, Any],
    seed: int,
    inputs: Mapping[str, str],
    files: Mapping[str, str],
    plugins: Mapping[str, str],
) -> str:
    """Return 64 hexadecimal digits that depend on the arguments alone, on every machine.

    Args:
        node: the resolved node as ``to_plain`` gives it.
        seed: the run's seed.
        inputs: fingerprint of each stage that it reads, by name.
        files: identity of each file that it names, as ``file_identities`` gives them.
        plugins: version of each plugin that it uses, as ``plugin_versions`` gives them.
    """
    parts = {"node": node, "seed": seed, "inputs": inputs, "files": files, "plugins": plugins}
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def without_keys(node: ComponentNode, keys: Iterable[str]) -> tuple[ComponentNode, dict[str, Any]]:
    """Leave out what a stage's result doesn't depend on; return the node and its plain data without it.

    Args:
        keys: of the node, or ``KEY.INNER`` of a part of its data, which the returned node keeps.
    """
    named = list(keys)
    kept = {name: value for name, value in node.keys.items() if name not in named}
    plain = to_plain(replace(node, keys=kept))
    for name, _, inner in (key.partition(".") for key in named if "." in key):
        if isinstance(plain.get(name), dict):
            plain[name] = {key: value for key, value in plain[name].items() if key != inner}
    return replace(node, keys=kept), plain


def plugin_versions(node: ComponentNode, registry: Registry) -> dict[str, str]:
    """Return distribution and version of every plugin whose components a node uses, by the plugin's name."""
    used = registrations(node, registry)
    return {
        one.plugin: f"{one.distribution} {one.version}" for one in sorted(used, key=lambda one: one.plugin)
    }


def file_identities(node: ComponentNode) -> dict[str, str]:
    """Return what identifies each file, folder or pattern that a node reads, by the path as it is written.

    Up to 64 MiB it is the content; beyond that names, sizes and times of modification, which take no reading.
    """
    paths = {leaf for leaf in leaves(node) if is_input(leaf)}
    return {str(path): _identity(path) for path in sorted(paths)}


def _identity(path: Path) -> str:
    found = matches(path)
    named = [(file.name, file) for file in found if file.is_file()]
    for folder in (one for one in found if one.is_dir()):
        prefix = folder.name if len(found) > 1 else ""
        named += [(f"{prefix}/{file.relative_to(folder).as_posix()}", file) for file in folder.rglob("*")]
    return _digest(named)


def _digest(named: Iterable[tuple[str, Path]]) -> str:
    # What readers remember of shards comes and goes and changes no result.
    files = sorted((name, file) for name, file in named if file.is_file() and file.suffix != INDEX_SUFFIX)
    if not files:
        return "absent"
    states = [file.stat() for _name, file in files]
    by_content = sum(state.st_size for state in states) <= SMALL
    digest = hashlib.sha256()
    for (name, file), state in zip(files, states, strict=True):
        digest.update(f"{name}\0{state.st_size}\0".encode())
        digest.update(file.read_bytes() if by_content else str(state.st_mtime_ns).encode())
    return digest.hexdigest()
