"""From a recipe's marked values to the types that a config declares."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, get_args, get_origin

from mmtk.config import Address, Input, Range, Slot, Target
from mmtk.recipe.annotations import without_new_types
from mmtk.recipe.marks import BROKEN, Marked, plain
from mmtk.recipe.schema import REQUIRED
from mmtk.recipe.site import INVALID, Invalid, Site
from mmtk.recipe.wording import alternatives, choices, expected, is_mapping, is_sequence, show
from mmtk.registry import a_kind, nearest

GROUPING = re.compile(r"(?<=[0-9])_+(?=[0-9])")
DIGITS = re.compile(r"[0-9]+")
INTEGER = re.compile(r"[-+]?[0-9]+")
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Markers:
    """What ``Annotated`` says of a value and of the parts of a container, and the field's default.

    Attributes:
        infinite: whether the default has an infinite number, so that the recipe may give one too.
    """

    slot: Slot | None = None
    input: Input | None = None
    range: Range | None = None
    target: Target | None = None
    default: Any = REQUIRED
    infinite: bool = False

    @classmethod
    def of_default(cls, default: Any) -> Markers:
        return cls(default=default, infinite=_has_infinity(default))

    def item(self, key: Any) -> Markers:
        """The markers for one entry of a mapping."""
        default = self.default.get(key, REQUIRED) if isinstance(self.default, Mapping) else REQUIRED
        return replace(self, default=default)


class Parts(Protocol):
    """Checks what is more than a plain value."""

    def component(self, marked: Marked, kind: str, site: Site, default: Any) -> Any: ...

    def record(self, marked: Marked, config: type, site: Site, default: Any) -> Any: ...

    def path(self, marked: Marked, input_: Input | None, site: Site) -> Any: ...

    def target(self, marked: Marked, site: Site) -> Any: ...


def coerce(marked: Marked, annotation: Any, site: Site, parts: Parts, markers: Markers = Markers()) -> Any:
    """Return the value as ``annotation`` wants it; INVALID when it can't be, with the reasons in ``site``."""
    if marked.value is BROKEN:
        return INVALID
    base, markers = _unwrap(annotation, markers)
    if base is Any or (base is object and markers.slot is None):
        return plain(marked)
    if get_origin(base) in (typing.Union, types.UnionType):
        return _union(marked, base, site, parts, markers)
    if marked.value is None:
        if base is type(None) or (get_origin(base) is Literal and None in get_args(base)):
            return None
        behind = marked.place.text[marked.place.column - 1 :].lstrip() if marked.place.text else "null"
        empty = ", as an empty value is" if behind[:1] in ("", "#", ",", "}", "]") else ""
        return site.fault(marked.place, f"expected {_wanted(base, markers)}, not null{empty}")
    if is_mapping(base):
        return _mapping(marked, base, site, parts, markers)
    if is_sequence(base):
        return _sequence(marked, base, site, parts, markers)
    if markers.slot is not None:
        return parts.component(marked, markers.slot.kind, site, markers.default)
    if base is Path and markers.target is not None:
        return parts.target(marked, site)
    if base is Path:
        return parts.path(marked, markers.input, site)
    if base is Address:
        return _address(marked, site)
    if dataclasses.is_dataclass(base) and isinstance(base, type):
        return parts.record(marked, base, site, markers.default)
    return _scalar(marked, base, site, markers)


def _unwrap(annotation: Any, markers: Markers) -> tuple[Any, Markers]:
    annotation = without_new_types(annotation)
    while get_origin(annotation) is Annotated:
        annotation, *notes = get_args(annotation)
        annotation = without_new_types(annotation)
        for note in notes:
            if isinstance(note, Slot):
                markers = replace(markers, slot=note)
            elif isinstance(note, Input):
                markers = replace(markers, input=note)
            elif isinstance(note, Range):
                markers = replace(markers, range=note)
            elif isinstance(note, Target):
                markers = replace(markers, target=note)
    return annotation, markers


def slot_kind(annotation: Any) -> str | None:
    """Return the kind of the one component that a field takes; None for every other field."""
    base, markers = _unwrap(annotation, Markers())
    return None if markers.slot is None or is_mapping(base) or is_sequence(base) else markers.slot.kind


def _wanted(base: Any, markers: Markers) -> str:
    if markers.slot is None:
        return expected(base)
    if is_mapping(base):
        return f"a mapping of {markers.slot.kind} components (NAME: {{use: …}})"
    if is_sequence(base):
        return f"a list of {markers.slot.kind} components ([{{use: …}}])"
    return f"{a_kind(markers.slot.kind)} ({{use: NAME}})"


def _address(marked: Marked, site: Site) -> Any:
    value = marked.value
    if isinstance(value, str) and "://" in value:
        return value
    return site.fault(marked.place, f"expected {expected(Address)}, not {show(value)}")


def _union(marked: Marked, base: Any, site: Site, parts: Parts, markers: Markers) -> Any:
    """Take the first member that fits, an exact match of the type before all others."""
    members = [one for one in get_args(base) if one is not type(None)]
    if marked.value is None:
        if len(members) < len(get_args(base)):
            return None
        return site.fault(marked.place, f"expected {expected(base)}, not null")
    members.sort(key=lambda one: _unwrap(one, markers)[0] is not type(marked.value))
    trials = []
    for member in members:
        trial = site.trial()
        value = coerce(marked, member, trial, parts, markers)
        if value is not INVALID:
            return value
        trials.append(trial)
    if not all(trial.problems for trial in trials):
        return INVALID
    telling = [trial for trial in trials if any(problem.path != site.path for problem in trial.problems)]
    if len(trials) == 1 or telling:
        site.problems.extend((telling or trials)[0].problems)
        return INVALID
    for member, trial in zip(members, trials, strict=True):
        if _has_shape(marked.value, _unwrap(member, markers)[0]):
            site.problems.extend(trial.problems)
            return INVALID
    return site.fault(
        marked.place, f"expected {alternatives(expected(one) for one in members)}, not {show(marked.value)}"
    )


def _has_shape(value: Any, base: Any) -> bool:
    """Whether a member's own fault says more of a value than that it is none of the alternatives."""
    if isinstance(value, str):
        return base is Path or get_origin(base) is Literal
    if isinstance(value, list):
        return is_sequence(base)
    if isinstance(value, Mapping):
        return base is Path or is_mapping(base) or dataclasses.is_dataclass(base)
    return base is type(value)


def _mapping(marked: Marked, base: Any, site: Site, parts: Parts, markers: Markers) -> Any:
    if not isinstance(marked.value, Mapping):
        return site.fault(marked.place, f"expected {_wanted(base, markers)}, not {show(marked.value)}")
    _key, inner = get_args(base) or (str, Any)
    items = {
        key: coerce(item, inner, site.below(key), parts, markers.item(key))
        for key, item in marked.value.items()
    }
    return INVALID if any(isinstance(item, Invalid) for item in items.values()) else items


def _sequence(marked: Marked, base: Any, site: Site, parts: Parts, markers: Markers) -> Any:
    if not isinstance(marked.value, list):
        return _no_list(marked, base, site, parts, markers)
    arguments = get_args(base) or (Any, ...)
    if get_origin(base) is tuple and not (len(arguments) == 2 and arguments[1] is ...):
        if len(marked.value) != len(arguments):
            return site.fault(marked.place, f"expected {expected(base)}, not a list of {len(marked.value)}")
        types_ = arguments
    else:
        types_ = (arguments[0],) * len(marked.value)
    inner = replace(markers, default=REQUIRED)
    items = [
        coerce(item, type_, site.below(index), parts, inner)
        for index, (item, type_) in enumerate(zip(marked.value, types_, strict=True))
    ]
    if any(isinstance(item, Invalid) for item in items):
        return INVALID
    return items if (get_origin(base) or base) is list else tuple(items)


def _no_list(marked: Marked, base: Any, site: Site, parts: Parts, markers: Markers) -> Invalid:
    """Report what stands in the place of a list; brackets are missing where it would do as the only item."""
    inner = (get_args(base) or (Any,))[0]
    alone = coerce(marked, inner, site.trial(), parts, replace(markers, default=REQUIRED))
    hint = "" if isinstance(alone, Invalid) else "; write [ ] around it"
    # What a reference stands for lies elsewhere, and this is about the place where it is used.
    place = marked.named_at if isinstance(marked.value, Mapping) else marked.place
    return site.fault(place, f"expected {_wanted(base, markers)}, not {show(marked.value)}{hint}")


def _scalar(marked: Marked, base: Any, site: Site, markers: Markers) -> Any:
    value = marked.value
    if get_origin(base) is Literal:
        return _choice(marked, {one: one for one in get_args(base)}, site)
    if isinstance(base, type) and issubclass(base, Enum):
        return value if isinstance(value, base) else _choice(marked, {one.value: one for one in base}, site)
    if base is float and type(value) is int:
        try:
            value = float(value)
        except OverflowError:
            return site.fault(marked.place, f"{show(value)} is too large")
    if type(value) is not base:
        hint = _hint(value, base)
        return site.fault(marked.place, f"expected {expected(base)}, not {show(value)}{hint}")
    if isinstance(value, float) and math.isnan(value):
        return site.fault(marked.place, "expected a number, not NaN")
    if isinstance(value, float) and math.isinf(value) and not _may_be_infinite(markers):
        return site.fault(marked.place, f"expected a finite number, not {show(value)}")
    if markers.range is not None and base in (int, float) and value not in markers.range:
        return site.fault(marked.place, f"{show(marked.value)} is outside of {markers.range}")
    return value


def _has_infinity(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_infinity, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_infinity, value))
    return isinstance(value, float) and math.isinf(value)


def _may_be_infinite(markers: Markers) -> bool:
    """Whether the config says that a number may be: what is only without bounds is not meant to be."""
    return markers.infinite or (
        markers.range is not None and _has_infinity((markers.range.low, markers.range.high))
    )


def _hint(value: Any, base: Any) -> str:
    """Say what to do about a scalar of another type, where that is clear."""
    if isinstance(value, Mapping):
        return "; it takes no stage's output" if "from" in value else ""
    if base is str:
        return "" if isinstance(value, list) else "; put it in quotes"
    if not isinstance(value, str):
        return ""
    if base is bool:
        word = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.lower())
        return f"; write {word}" if word else ""
    number = INTEGER if base is int else NUMBER
    digits = GROUPING.sub("", value)
    if digits != value and number.fullmatch(digits):
        return f"; write {digits}"
    return "; write it without the quotes" if number.fullmatch(value) else ""


def nearest_choice(word: str, annotation: Any) -> str | None:
    """Return the one of a field's choices that a word may have been meant as; None where it has none."""
    base, _ = _unwrap(annotation, Markers())
    return _near(word, get_args(base)) if get_origin(base) is Literal else None


def _near(word: str, choices: Iterable[Any]) -> str | None:
    # A number is seldom misspelt: 'float32' isn't meant as 'float16'.
    number = DIGITS.findall(word)
    words = [one for one in choices if isinstance(one, str) and (not number or DIGITS.findall(one) == number)]
    return nearest(word, words)


def _choice(marked: Marked, values: Mapping[Any, Any], site: Site) -> Any:
    for value, meaning in values.items():
        if value == marked.value and type(value) is type(marked.value):
            return meaning
    near = _near(marked.value, values) if isinstance(marked.value, str) else None
    hint = f"; did you mean '{near}'?" if near else ""
    return site.fault(marked.place, f"expected {choices(values)}, not {show(marked.value)}{hint}")
