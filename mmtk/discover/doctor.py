"""What this installation has and can do, found out by asking each part."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from mmtk.plugins import PluginHost
from mmtk.registry import Registry

_GIB = 2**30
_REQUIREMENT = re.compile(r"([\w.-]+)[^;]*(?:;\s*extra == [\"'](?P<extra>[\w-]+)[\"'])?")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        topic: the heading it belongs to.
        works: whether it is there and usable.
        detail: a version, a figure, or what is missing and how to get it.
        needed: whether mmtk can't do without.
    """

    topic: str
    name: str
    works: bool
    detail: str
    needed: bool = False


def examine(host: PluginHost) -> list[Finding]:
    """Look at everything. It imports torch and every plugin's strategies."""
    return [
        *_versions(),
        *_device(),
        *_strategies(host.registry),
        *_extras(),
        *_plugins(host),
    ]


def _versions() -> Iterator[Finding]:
    yield Finding("Versions", "python", True, platform.python_version())
    yield Finding("Versions", "mmtk", True, version("mmtk"))
    for name, extra in _requirements():
        if not extra:
            found = _version(name)
            yield Finding("Versions", name, bool(found), found or f"missing: pip install {name}", needed=True)


def _device() -> Iterator[Finding]:
    import torch
    import torch.distributed as dist

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    cores = f"{os.cpu_count()} cores, {memory:.0f} GiB, {torch.backends.cpu.get_cpu_capability()}"
    yield Finding("Devices", "cpu", True, cores)
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            one = torch.cuda.get_device_properties(number)
            yield Finding("Devices", f"cuda:{number}", True, f"{one.name}, {one.total_memory / _GIB:.0f} GiB")
    else:
        yield Finding("Devices", "cuda", False, "torch finds no usable NVIDIA GPU")
    for backend, there in (("gloo", dist.is_gloo_available()), ("nccl", dist.is_nccl_available())):
        said = "in this build of torch, for several ranks"
        yield Finding("Devices", backend, there, said if there else f"not {said}")
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    yield Finding(
        "Devices", "compile", bool(compiler), compiler or "torch.compile on the CPU needs a C++ compiler"
    )
    free = shutil.disk_usage(Path.cwd()).free / _GIB
    yield Finding("Devices", "disk", True, f"{free:.0f} GiB free in the working directory")


def _strategies(registry: Registry) -> Iterator[Finding]:
    import torch

    for registration in registry.of_kind("strategy"):
        name = registration.component.name
        try:
            factory = registration.factory()
        except Exception as error:  # whatever importing it raises is the finding
            yield Finding("Strategies", name, False, str(error).splitlines()[0])
            continue
        lacks = getattr(factory, "needs_cuda", False) and not torch.cuda.is_available()
        detail = "needs a CUDA device" if lacks else registration.component.summary
        yield Finding("Strategies", name, not lacks, detail)


def _extras() -> Iterator[Finding]:
    extras: dict[str, list[str]] = {}
    for name, extra in _requirements():
        if extra and extra != "dev":
            extras.setdefault(extra, []).append(name)
    for extra, names in sorted(extras.items()):
        missing = [name for name in names if not _version(name)]
        there = ", ".join(f"{name} {_version(name)}" for name in names)
        detail = f"missing: pip install 'mmtk[{extra}]'" if missing else there
        yield Finding("Extras", extra, not missing, detail)


def _plugins(host: PluginHost) -> Iterator[Finding]:
    for plugin in host.plugins:
        origin = f"{plugin.distribution} {plugin.version}"
        own = plugin.distribution == "mmtk"
        detail = f"{origin}, {plugin.error}" if plugin.error else origin
        if plugin.heavy:
            detail += (
                f"; its module {plugin.module} imports {', '.join(plugin.heavy)}, and slows every command"
            )
        yield Finding(
            "Plugins", plugin.name, plugin.error is None, detail, needed=own and not plugin.left_out
        )


def _requirements() -> Iterator[tuple[str, str]]:
    """What mmtk's distribution needs, each with the extra it belongs to, if any."""
    for line in requires("mmtk") or ():
        if found := _REQUIREMENT.match(line):
            yield found[1], found["extra"] or ""


def _version(name: str) -> str:
    """The installed version; empty where it is missing or can't be imported as what it is."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
