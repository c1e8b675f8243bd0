"""Map the modules by what their first lines say: ``python docs/make_map.py``.

Writes modules.md, with every module, and the table of packages between the marks in architecture.md.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
ARCHITECTURE = DOCS / "architecture.md"
MODULES = DOCS / "modules.md"
BEGIN, END = "<!-- map:begin -->", "<!-- map:end -->"
INTRODUCTION = """\
# Modules

Made by `docs/make_map.py` from the first lines of the modules; don't edit it by hand.

Every module, by package, with what it imports of other packages. [architecture.md](architecture.md) says
how they fit together. Arrows point one way: plugins import the host, and the host imports no plugin.
"""


def main() -> None:
    MODULES.write_text(modules_page(), encoding="utf-8")
    ARCHITECTURE.write_text(with_packages(ARCHITECTURE.read_text(encoding="utf-8")), encoding="utf-8")


def modules_page() -> str:
    """The page of all modules, a table for each package."""
    blocks = [INTRODUCTION]
    for package in packages():
        rows = [
            [f"`{path.name}`", first_line(path), words(imported_packages([path]))]
            for path in sorted(package.glob("*.py"))
            if path.name != "__init__.py"
        ]
        if rows:
            blocks.append(f"## `{name(package)}`\n\n{first_line(package / '__init__.py')}\n")
            blocks.append(table(["module", "what it does", "imports"], rows))
    return "\n".join(blocks)


def with_packages(text: str) -> str:
    """The page on the architecture, with its table of packages up to date."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    rows = [
        [
            f"[`{name(package)}`](modules.md#{name(package).replace('.', '')})",
            first_line(package / "__init__.py"),
            words(imported_packages(package.glob("*.py"))),
        ]
        for package in packages()
        if len(list(package.glob("*.py"))) > 1
    ]
    return f"{head}{BEGIN}\n\n{table(['package', 'what it is', 'imports'], rows)}\n{END}{tail}"


def packages() -> list[Path]:
    """The folders of all packages, the host's first."""
    found = [path.parent for folder in ("mmtk", "plugins") for path in (ROOT / folder).rglob("__init__.py")]
    return sorted(found, key=lambda package: (package.relative_to(ROOT).parts[0], package))


def name(package: Path) -> str:
    parts = package.relative_to(ROOT).parts
    return ".".join(parts[1:] if parts[0] == "plugins" else parts)


def first_line(path: Path) -> str:
    """The first paragraph of a module's docstring, on one line."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split()).replace("``", "`")


def imported_packages(paths: Iterable[Path]) -> list[str]:
    """Other packages of the repository that the modules import; top modules of the host by their own name."""
    own = {name(package): package for package in packages()}
    found: set[str] = set()
    for path in paths:
        targets = {target for module in imported_modules(path) for target in [owner(module, own)] if target}
        found |= targets - {name(path.parent)}
    return sorted(found)


def owner(module: str, own: dict[str, Path]) -> str | None:
    """The package of a module; None for those that aren't of the repository."""
    if module in own:
        return module
    package, _, _ = module.rpartition(".")
    if not package:
        return None
    return package if package in own else owner(package, own)


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def words(names: Iterable[str]) -> str:
    return ", ".join(f"`{one}`" for one in names)


def table(headings: list[str], rows: Iterable[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
