"""Keys that the command line sets: ``stages.pretrain.epochs=2``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from mmtk.recipe.growth import DEEPEST
from mmtk.recipe.marks import Marked, Place, assign, at
from mmtk.recipe.problems import Problem, UnreadableError
from mmtk.recipe.yaml_reader import read_yaml
from mmtk.registry import spelling_hint

PART = re.compile(r"[^.\[\]]+")
KEY = re.compile(r"[^\s.\[\]=]+(\.[^\s.\[\]=]+|\[\d+\])*")

# What is read before the command line's keys are set, with what to do instead.
READ_BEFORE = {
    "extends": "can't be set on the command line; write a recipe that extends both",
    "profiles": "can't be set on the command line; choose one of the recipe's with --profile NAME",
}


def apply_overrides(recipe: Marked, overrides: Iterable[str], problems: list[Problem]) -> Marked:
    """Set every ``key=value`` in turn. Values are YAML; lists are reached by index (``sections[0].title``).

    What is wrong with an override is added to ``problems``, at the place ``command line: key=value``.
    """
    for override in overrides:
        place = argument_place(override)
        key, equals, text = override.partition("=")
        if not equals or not KEY.fullmatch(key):
            problems.append(Problem(place, "", "expected key=value, e.g. stages.pretrain.epochs=2"))
            continue
        parts = list(PART.finditer(key))
        if len(parts) > DEEPEST:
            problems.append(Problem(place, "", f"a key of more than {DEEPEST} parts"))
            continue
        keys = [part[0] for part in parts]
        places = [replace(place, column=part.start() + 1) for part in parts]
        if unknown := _unknown_part(recipe, keys):
            depth, fault = unknown
            problems.append(Problem(places[depth], key, fault))
            continue
        try:
            value = read_value(text, replace(place, column=len(key) + 2), problems)
            recipe = assign(recipe, keys, replace(value, key_place=places[-1]), places)
        except LookupError as error:
            problems.append(Problem(place, key, str(error)))
        except UnreadableError as error:
            problems.append(replace(error.problem, path=key))
    return recipe


def argument_place(argument: str, column: int = 1) -> Place:
    """Return the place of a command line's argument, from its character ``column`` on."""
    return Place(f"command line: {argument}", column=column, text=argument)


def read_value(text: str, place: Place, problems: list[Problem]) -> Marked:
    """Read a value as YAML; a word is taken as it was typed, with its blanks and number signs.

    Raises:
        UnreadableError: it is no YAML.
    """
    if not text.strip() or text.lstrip().startswith("#"):
        return Marked(text, place)
    value = read_yaml(text, place.source, problems, origin=place)
    if isinstance(value.value, str) and text.lstrip()[:1] not in ("'", '"', "|", ">"):
        return Marked(text, place)
    return value


def _place_of(recipe: Marked, name: str) -> str | None:
    """Return ``stages`` or ``definitions``, whichever has this name."""
    return next((one for one in ("stages", "definitions") if at(recipe, [one, name]) is not None), None)


def _unknown_part(recipe: Marked, keys: list[str]) -> tuple[int, str] | None:
    """Say which stage or definition an override changes that isn't there, and which of the keys names it.

    Everywhere else a component's config knows which keys there are, and the check finds a misspelt one. It
    doesn't know those of ``READ_BEFORE``, since they are gone by then.
    """
    section = keys[0]
    if section in READ_BEFORE:
        return 0, READ_BEFORE[section]
    if at(recipe, [section]) is None and (place := _place_of(recipe, section)):
        return 0, f"the recipe has no key '{section}'; did you mean {place}.{'.'.join(keys)}?"
    if section == "stages":
        known = keys[1:2] if len(keys) > 2 else []
    elif section == "definitions":
        known = keys[1:-1] or keys[1:]
    else:
        return None
    node = at(recipe, [section])
    for depth, key in enumerate(known, 1):
        names = node.value if node and isinstance(node.value, dict) else None
        if names is None:
            return None
        if key not in names:
            hint = spelling_hint(key, names)
            return depth, f"the recipe has no '{key}' in its {section}; {hint}"
        node = names[key]
    return None
