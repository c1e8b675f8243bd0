"""Writes the package of a new plugin, with a component that works, a recipe and tests."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmtk.api_version import VERSION
from mmtk.errors import PluginError
from mmtk.kinds import KINDS as ALL_KINDS
from mmtk.plugins import load_plugins
from mmtk.registry import a_kind, nearest

NAME = re.compile(r"[A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9]", re.IGNORECASE)  # of a distribution, PEP 508
TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Template:
    """What is written for a kind.

    Attributes:
        factory: what its module offers, a function or class.
        summary: one line about the component.
        recipe: the name of the recipe's template: what the component takes part in.
    """

    factory: str
    summary: str
    recipe: str = "train"


KINDS: Mapping[str, Template] = {
    "capfilt_step": Template("ShortTexts", "bars texts of few letters", "capfilt"),
    "head": Template("Contrast", "pairwise contrast with a sigmoid loss"),
    "image_encoder": Template("Patches", "patches through a small MLP mixer"),
    "logger": Template("Table", "figures to a tab-separated file"),
    "loss": Template("Focal", "cross-entropy that counts easy rows less"),
    "metric": Template("Alignment", "how close matching pairs are, and how evenly features lie", "evaluate"),
    "momentum": Template("Average", "moving average of the feature towers, without a queue"),
    "negatives": Template("Tempered", "negatives by similarity, drawn more or less evenly"),
    "reader": Template("Folder", "pictures in a folder, each with a text file beside it", "reader"),
    "report_section": Template("Summary", "the last figures of a training stage", "report"),
    "stage": Template("CountStage", "counts the words of a dataset's texts", "stage"),
    "text_encoder": Template("frozen_words", "med_bert with word embeddings that aren't trained"),
}


def write_plugin(name: str, kind: str, into: Path) -> list[Path]:
    """Write the package ``into/name`` and return its files.

    Args:
        name: of the distribution, ``my-siglip``; the package is then ``my_siglip``, and so is the component.
        kind: what the component is.
        into: an existing folder.

    Raises:
        PluginError: a name that can't be a distribution's or a package's, or that an installed plugin or a
            component of this kind has, a kind without a template, or a folder that is there already.
    """
    template = _template(kind)
    package = package_name(name)
    _refuse_taken(name, package, kind)
    if not into.is_dir():
        raise PluginError(f"{into} is no folder that a plugin could be written into")
    target = into / name
    if target.exists():
        raise PluginError(f"{target} is there already; name another plugin, or another folder with --into")
    values = {
        "name": name,
        "package": package,
        "kind": kind,
        "factory": template.factory,
        "summary": template.summary,
        "api": f">={VERSION[0]}.{VERSION[1]},<{VERSION[0] + 1}",
    }
    written = []
    for path, text in _files(kind, template, package, values):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(text, encoding="utf-8")
        written.append(target / path)
    return written


def _template(kind: str) -> Template:
    if kind in KINDS:
        return KINDS[kind]
    near = None if kind in ALL_KINDS else nearest(kind, KINDS)
    hint = f"did you mean '{near}'? " if near else ""
    raise PluginError(f"there is no template for the kind '{kind}'; {hint}there are: {', '.join(KINDS)}")


def package_name(name: str) -> str:
    """The package of a distribution, ``my_siglip`` for ``my-siglip``. Raises PluginError for a bad name."""
    if not NAME.fullmatch(name):
        raise PluginError(
            f"'{name}' can't be a distribution's name: letters, digits, '-', '_' and '.', the first and the"
            " last a letter or a digit (PEP 508)"
        )
    package = re.sub(r"[-_.]+", "_", name).lower()
    if not package.isidentifier() or keyword.iskeyword(package):
        raise PluginError(f"'{name}' would be the package '{package}', which Python can't import")
    return package


def _refuse_taken(name: str, package: str, kind: str) -> None:
    """Raises PluginError where the plugin couldn't be loaded, or its name would mean something else."""
    host = load_plugins()
    for plugin in host.plugins:
        if plugin.name == package:
            owner = f"{plugin.distribution} {plugin.version}"
            raise PluginError(
                f"'{name}' would be the plugin '{package}', a name that {owner} has taken; name it otherwise"
            )
    for one in host.registry.of_kind(kind):
        if one.component.name == package:
            raise PluginError(
                f"'{name}' would be {a_kind(kind)} called '{package}', and there is one already (from"
                f" {one.origin}), which recipes mean by this name; name it otherwise"
            )
    if package in sys.stdlib_module_names or importlib.util.find_spec(package) is not None:
        raise PluginError(f"'{name}' would hide the package '{package}', which is there already")


def _files(
    kind: str, template: Template, package: str, values: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Names and contents of the package's files."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for path, source in (
        ("pyproject.toml", "pyproject.toml.jinja"),
        ("README.md", "README.md.jinja"),
        ("recipe.yaml", f"recipes/{template.recipe}.yaml.jinja"),
        (f"src/{package}/__init__.py", "init.py.jinja"),
        (f"src/{package}/plugin.py", "plugin.py.jinja"),
        (f"src/{package}/configs.py", f"{kind}/configs.py.jinja"),
        (f"src/{package}/component.py", f"{kind}/component.py.jinja"),
        (f"tests/test_{package}.py", f"{kind}/test.py.jinja"),
        (f"tests/test_{package}_in_recipes.py", "test_recipe.py.jinja"),
    ):
        yield path, environment.get_template(source).render(values)
