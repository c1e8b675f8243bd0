"""``profiles``: named changes of a recipe, laid over it where the command line asks for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mmtk.recipe.marks import BROKEN, Marked, Place, merge
from mmtk.recipe.problems import Problem
from mmtk.recipe.wording import show
from mmtk.registry import spelling_hint

KEYS = ("name", "description", "seed", "device", "run_dir", "environment", "definitions", "stages")


def apply_profiles(recipe: Marked, names: Iterable[str], problems: list[Problem]) -> Marked:
    """Take ``profiles`` out of the recipe and lay those of ``names`` over it, one after the other.

    All of them are looked at: what is wrong with one, and an unknown name, goes into ``problems``.
    """
    profiles = _profiles(recipe.value.get("profiles"), problems)
    recipe = replace(recipe, value={key: item for key, item in recipe.value.items() if key != "profiles"})
    for name in names:
        if name in profiles:
            changes = profiles[name]
            recipe = replace(merge(recipe, changes), place=recipe.place)
            continue
        hint = spelling_hint(name, profiles)
        place = Place(f"command line: --profile {name}")
        problems.append(Problem(place, "", f"the recipe has no profile '{name}'; {hint}"))
    return recipe


def _profiles(section: Marked | None, problems: list[Problem]) -> dict[str, Marked]:
    if section is None or section.value is None or section.value is BROKEN:
        return {}
    if not isinstance(section.value, Mapping):
        message = (
            f"expected a mapping of profiles, each a mapping of keys to change, not {show(section.value)}"
        )
        problems.append(Problem(section.place, "profiles", message))
        return {}
    return {name: _profile(name, profile, problems) for name, profile in section.value.items()}


def _profile(name: str, profile: Marked, problems: list[Problem]) -> Marked:
    path = f"profiles.{name}"
    if profile.value is None or profile.value is BROKEN:
        return replace(profile, value={})
    if not isinstance(profile.value, Mapping):
        message = f"expected a mapping of keys to change, not {show(profile.value)}"
        problems.append(Problem(profile.place, path, message))
        return replace(profile, value={})
    for key, item in profile.value.items():
        if key not in KEYS:
            hint = spelling_hint(key, KEYS)
            problems.append(Problem(item.named_at, f"{path}.{key}", f"unknown key of a profile; {hint}"))
    return replace(profile, value={key: item for key, item in profile.value.items() if key in KEYS})
