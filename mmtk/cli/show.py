"""Say all there is to say of a component: its keys, what it gives, an example, where it comes from."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from mmtk.cli import completion
from mmtk.printable import printable_lines

if TYPE_CHECKING:
    from mmtk.discover.component_page import ComponentPage, KeyPage


CALLS = {
    "importer": "mmtk import SRC DST --format {}",
    "exporter": "mmtk export RUN DST --format {}",
}  # of the kinds that no recipe names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    component = parser.add_argument(
        "component", nargs="+", metavar="KIND NAME", help="the component; its NAME alone if no other has it"
    )
    component.completer = completion.components  # type: ignore[attr-defined]
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def execute(arguments: argparse.Namespace) -> int:
    from mmtk.discover.component_page import component_page, find_component
    from mmtk.errors import RecipeError
    from mmtk.plugins import load_plugins

    if len(arguments.component) > 2:
        raise RecipeError("expected KIND NAME, or NAME alone")
    registry = load_plugins().registry
    with contextlib.redirect_stdout(sys.stderr):  # what plugins print is no part of the page
        page = component_page(find_component(registry, arguments.component), registry)
    if arguments.json:
        print(json.dumps(asdict(page), indent=2))
    else:
        print(printable_lines("\n".join(_lines(page))))
    return 0


def _lines(page: ComponentPage) -> Iterator[str]:
    import yaml

    yield f"{page.name}, {page.kind} of {page.distribution} {page.version} (plugin {page.plugin})"
    if page.example["use"] != page.name:
        yield f"Others offer one of this name; write '{page.example['use']}' in recipes."
    if page.fault:
        yield f"It can't be used: {page.fault}"
    if page.about:
        yield from ("", page.about)
    yield from ("", "Keys:" if page.keys else "It takes no keys.")
    yield from _key_lines(page.keys, "  ")
    if page.outputs:
        yield from ("", "Outputs:")
        yield from (f"  {name}: {artifact}, {path} in its folder" for name, artifact, path in page.outputs)
    if page.injected:
        yield from ("", f"Beside its keys its factory may take: {', '.join(page.injected)}")
    if page.kind in CALLS:
        yield from ("", "It is called by:", f"  {CALLS[page.kind].format(page.example['use'])}")
    else:
        yield from ("", "In a recipe:")
        yield from (f"  {line}" for line in yaml.safe_dump(page.example, sort_keys=False).splitlines())
    if page.promise:
        yield from ("", f"What each {page.kind} does:")
        yield from (f"  {line}".rstrip() for line in page.promise.splitlines())
    yield from ("", f"Defined by {page.factory}{f' in {page.defined_in}' if page.defined_in else ''}")


def _key_lines(keys: Iterable[KeyPage], indent: str) -> Iterator[str]:
    """A line for each key, its meaning and the keys of nested configs below it."""
    for key in keys:
        yield f"{indent}{key.name}: {key.type}{f', default {key.default}' if key.default else ', required'}"
        if key.meaning:
            yield f"{indent}    {key.meaning}"
        for title, nested in key.records.items():
            if len(key.records) > 1:
                yield f"{indent}    Keys of {title}:"
            yield from _key_lines(nested, f"{indent}    ")
