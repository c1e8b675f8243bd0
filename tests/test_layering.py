"""Arrows point one way: plugins use the host's public module, the host knows no plugin, listing no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").is_file())
HOST_FILES = sorted((ROOT / "mmtk").rglob("*.py"))
PLUGIN_FILES = sorted(path for name in PLUGINS for path in (ROOT / "plugins" / name).rglob("*.py"))
EXAMPLES = ROOT / "tests" / "plugins"
EXAMPLE_FILES = sorted(EXAMPLES.rglob("*.py"))

HEAVY = {"fairscale", "matplotlib", "pyarrow", "timm", "torch", "torchdata", "torchvision", "transformers"}
LIGHT_NAMES = {"plugin.py", "configs.py", "components.py"}
LIGHT_FILES = [
    *(path for path in HOST_FILES + PLUGIN_FILES if path.name in LIGHT_NAMES),
    *(
        ROOT / "mmtk" / f"{name}.py"
        for name in ("api", "api_version", "builtin", "config", "facade", "plugins", "registry", "types")
    ),
    *sorted((ROOT / "mmtk" / "kinds").glob("*.py")),
    *sorted((ROOT / "mmtk" / "cli").glob("*.py")),
    *sorted((ROOT / "mmtk" / "stages").glob("*.py")),
]


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that an import statement below ``tree`` names, also within functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_at_once(tree: ast.Module) -> Iterator[str]:
    """What is imported when the module is: no function bodies, no ``if TYPE_CHECKING``."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imported(node)
        waiting += ast.iter_child_nodes(node)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def within(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_name(path: Path) -> str:
    base = ROOT if path.is_relative_to(ROOT / "mmtk") else ROOT / "plugins"
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_there_is_something_to_test() -> None:
    assert {"mmtk_blip", "mmtk_capfilt", "mmtk_momentum"} <= set(PLUGINS)
    assert len(HOST_FILES) > 20
    assert len(PLUGIN_FILES) > 20


@pytest.mark.parametrize("path", HOST_FILES, ids=relative)
def test_the_host_imports_no_plugin(path: Path) -> None:
    assert [name for name in imported(parse(path)) if within(name, set(PLUGINS))] == []


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=relative)
def test_a_plugin_imports_of_another_what_its_api_lists(path: Path) -> None:
    own = path.relative_to(ROOT / "plugins").parts[0]
    for node in ast.walk(parse(path)):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        module, *names = imported(node)
        if not within(module, set(PLUGINS) - {own}):
            continue
        assert module in {f"{plugin}.api" for plugin in PLUGINS}
        assert set(names) <= {f"{module}.{name}" for name in listed(module)}


def listed(module: str) -> list[str]:
    """The names in ``__all__`` of a plugin's module."""
    return listed_in((ROOT / "plugins" / Path(*module.split("."))).with_suffix(".py"))


def listed_in(path: Path) -> list[str]:
    """The names in ``__all__`` of a file."""
    tree = parse(path)
    (names,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    return names


def test_an_api_lists_all_that_it_imports() -> None:
    for plugin in PLUGINS:
        path = ROOT / "plugins" / plugin / "api.py"
        if path.is_file():
            names = {name.rpartition(".")[2] for name in imported(parse(path)) if within(name, {plugin})}
            modules = {path.stem for path in (ROOT / "plugins" / plugin).rglob("*.py")}
            assert names - modules == set(listed(f"{plugin}.api"))


@pytest.mark.parametrize("path", PLUGIN_FILES + EXAMPLE_FILES, ids=relative)
def test_a_plugin_imports_of_the_host_its_api_alone(path: Path) -> None:
    for node in ast.walk(parse(path)):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        module, *names = imported(node)
        if within(module, {"mmtk"}):
            assert module == "mmtk.api", f"line {node.lineno} imports from {module}"
            assert set(names) <= {f"mmtk.api.{name}" for name in listed_in(ROOT / "mmtk" / "api.py")}


@pytest.mark.parametrize("path", LIGHT_FILES, ids=relative)
def test_what_listing_and_checking_read_imports_nothing_heavy(path: Path) -> None:
    assert [name for name in imported_at_once(parse(path)) if within(name, HEAVY)] == []


def test_no_light_module_pulls_what_is_heavy_in_through_another() -> None:
    modules = sorted({module_name(path) for path in LIGHT_FILES} - {"mmtk.__main__"})
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = {HEAVY!r} & set(sys.modules)\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_checks_see_what_they_are_for() -> None:
    tree = ast.parse(
        "import a\nfrom b import c\nif TYPE_CHECKING:\n    import d\nelse:\n    import e\n"
        "def f():\n    import g\nclass H:\n    import i\ntry:\n    import j\nexcept ImportError:\n    pass\n"
    )
    assert set(imported_at_once(tree)) == {"a", "b", "b.c", "e", "i", "j"}
    assert set(imported(tree)) == {"a", "b", "b.c", "d", "e", "g", "i", "j"}
    assert within("torch.nn", {"torch"})
    assert not within("torchlike", {"torch"})
