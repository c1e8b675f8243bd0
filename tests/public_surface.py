"""What a plugin can lean on, as text: ``python -m tests.public_surface`` writes it to ``public_api.txt``.

Lines are ``name``, or ``name.member``, and what it is. Before it writes, the command looks whether the newest
section of CHANGELOG.md names everything that has changed.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NewType

from mmtk import api, hookspecs, testing
from mmtk.api_version import VERSION
from mmtk.kinds import KINDS

ROOT = Path(__file__).parents[1]
SNAPSHOT = ROOT / "tests" / "public_api.txt"
CHANGELOG = ROOT / "CHANGELOG.md"
COMMAND = "python -m tests.public_surface"
SPECIAL = {"__call__", "__len__", "__getitem__", "__iter__", "__enter__", "__exit__"}


def surface() -> str:
    """One line for each public name, member, hook and kind."""
    lines = [f"VERSION {'.'.join(map(str, VERSION))}"]
    for module, prefix in ((api, ""), (testing, "testing.")):
        for name in sorted(set(module.__all__) - {"KINDS", "VERSION"}):
            lines += _lines(f"{prefix}{name}", getattr(module, name))
    hooks = [name for name in sorted(vars(hookspecs)) if name.startswith(f"{hookspecs.PROJECT_NAME}_")]
    lines += [f"hook {name}{_signature(getattr(hookspecs, name))}" for name in hooks]
    lines += [
        f"kind {kind.name}: {kind.protocol.__name__}, injected: {', '.join(kind.injected) or 'nothing'}"
        for kind in KINDS.values()
    ]
    return "\n".join(lines) + "\n"


def _lines(name: str, thing: Any) -> Iterator[str]:
    if isinstance(thing, ModuleType):
        yield f"{name}: module"
        own = {key: value for key, value in vars(thing).items() if _is_own(key, value, thing.__name__)}
        for key, value in sorted(own.items()):
            yield from _lines(f"{name}.{key}", value)
    elif isinstance(thing, type):
        yield from _class(name, thing)
    elif isinstance(thing, NewType):
        yield f"{name}: NewType({thing.__supertype__.__name__})"
    elif callable(thing):
        yield f"{name}{_signature(thing)}"
    else:
        yield f"{name} = {thing!r}"


def _is_own(key: str, value: Any, module: str) -> bool:
    return not key.startswith("_") and callable(value) and getattr(value, "__module__", "") == module


def _class(name: str, cls: type) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base is not object)
    protocol = getattr(cls, "_is_protocol", False)
    made = is_dataclass(cls) or hasattr(cls, "_fields") or "__init__" in vars(cls)
    yield f"{name}: class({bases}){_signature(cls) if made and not protocol else ''}"
    if protocol:
        yield from (f"{name}.{key}: {value}" for key, value in sorted(inspect.get_annotations(cls).items()))
    for key, value in sorted(vars(cls).items()):
        if key.startswith("_") and key not in SPECIAL:
            continue
        function = getattr(value, "__func__", value)
        if isinstance(value, property):
            yield f"{name}.{key}: property{_signature(value.fget)}"
        elif inspect.isfunction(function):
            yield f"{name}.{key}{_signature(function)}"


def _signature(function: Any) -> str:
    """Annotations as they are written, and of defaults that are objects no address."""
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(function)))
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def changed(old: str, new: str) -> list[str]:
    """The names whose lines differ, in order; of a member, a hook or a kind the name alone."""
    differing = set(old.splitlines()) ^ set(new.splitlines())
    found = [re.match(r"(?:hook |kind )?([\w.]+)", line) for line in differing]
    return sorted({one[1].removeprefix("testing.") for one in found if one} - {"VERSION"})


def newest_section(changelog: str) -> str:
    """The first section of a changelog, with its heading."""
    return changelog.partition("\n## ")[2].partition("\n## ")[0]


def unmentioned(names: list[str], section: str) -> list[str]:
    """The names that no word in backticks of the section stands for; a member may go by its class's name."""
    words = set(re.findall(r"`(?:mmtk\.(?:api|testing)\.)?([\w.]+)[^`]*`", section))
    return [name for name in names if not {name, name.partition(".")[0], name.rpartition(".")[2]} & words]


def main() -> int:
    new = surface()
    old = SNAPSHOT.read_text(encoding="utf-8") if SNAPSHOT.is_file() else ""
    names = changed(old, new) if old else []
    if missing := unmentioned(names, newest_section(CHANGELOG.read_text(encoding="utf-8"))):
        print(
            f"the newest section of {CHANGELOG.name} says nothing of: {', '.join(missing)}", file=sys.stderr
        )
        return 1
    SNAPSHOT.write_text(new, encoding="utf-8")
    print(f"{SNAPSHOT.name}: {len(names)} names have changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
