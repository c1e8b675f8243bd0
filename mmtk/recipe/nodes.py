"""Checks one node against its component: which one it is, its keys, and what the config itself says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmtk.config import Input, NodeDefault
from mmtk.engine.checkpoint_files import checkpoint_fault
from mmtk.errors import MmtkError
from mmtk.recipe.coerce import Markers, coerce, nearest_choice, slot_kind
from mmtk.recipe.marks import BROKEN, Marked, Place, at, mark
from mmtk.recipe.paths import WrittenPath, path_fault, what_bars, what_is_else, what_is_missing
from mmtk.recipe.references import Reference
from mmtk.recipe.schema import REQUIRED, Key, Schema, component_schema, dataclass_keys
from mmtk.recipe.site import INVALID, Invalid, Site
from mmtk.recipe.wording import show
from mmtk.registry import Registration, Registry, a_kind, nearest
from mmtk.types import ComponentNode

FindOutput = Callable[[str, "Input | None"], "Reference | str"]


class NodeChecker:
    """Turns marked nodes into ``ComponentNode`` objects, noting everything that is wrong on the way."""

    def __init__(self, registry: Registry, find_output: FindOutput, files: bool = True) -> None:
        """Take what the check needs.

        Args:
            registry: the components there are.
            find_output: turns ``STAGE.OUTPUT`` into a reference of the wanted type, or says why it can't.
            files: whether inputs given as paths must exist, and other paths be possible on this machine.
        """
        self.registry = registry
        self.find_output = find_output
        self.files = files

    def component(self, marked: Marked, kind: str, site: Site, default: Any = REQUIRED) -> Any:
        """Check a mapping with ``use:``; without it, it changes keys of the field's default component."""
        if isinstance(marked.value, NodeDefault):
            marked = mark(marked.value, marked.place)
        if marked.value is BROKEN:
            return INVALID
        if not isinstance(marked.value, Mapping):
            hint = f"; write {{use: {marked.value}}}" if isinstance(marked.value, str) else ""
            return site.fault(
                marked.place, f"expected {a_kind(kind)} ({{use: NAME}}), not {show(marked.value)}{hint}"
            )
        named_by = site
        if "use" not in marked.value and isinstance(default, NodeDefault):
            filled = mark(default, marked.named_at).value
            marked = replace(marked, value={**filled, **marked.value})
            named_by = site.filled()
        registration = self.find(marked, kind, named_by)
        if registration is None:
            return INVALID
        owner = f"{registration.component.name}, from {registration.origin}"
        try:
            schema = component_schema(registration)
        except MmtkError as error:
            return site.fault(marked.value["use"].place, str(error))
        given = replace(marked, value={key: item for key, item in marked.value.items() if key != "use"})
        inner = site.of(owner, registration.plugin)
        keys = self.keys(given, schema.keys, inner)
        if keys is None or (config := self.contract(marked, schema, keys, inner)) is None:
            return INVALID
        said_by = registration.factory() if schema.config is None else config
        use = self.name_of(registration, marked.value["use"].value)
        return ComponentNode(kind, use, keys, str(marked.named_at), said_by)

    def name_of(self, registration: Registration, written: str) -> str:
        """Return the name as it was written, unless a recipe would mean another component by it."""
        is_alone = written == registration.component.name
        return self.registry.spelling(registration) if is_alone else written

    def find(self, marked: Marked, kind: str, site: Site) -> Registration | None:
        use = marked.value.get("use")
        if use is None:
            names = ", ".join(one.component.name for one in self.registry.of_kind(kind))
            site.fault(marked.named_at, f"needs 'use: NAME' of {a_kind(kind)}; there are: {names or 'none'}")
            return None
        if use.value is BROKEN:
            return None
        if not isinstance(use.value, str):
            site.below("use").fault(use.place, f"expected a component's name, not {show(use.value)}")
            return None
        try:
            if site.default_of:
                return self.registry.of_default(kind, use.value, site.default_of)
            return self.registry.get(kind, use.value)
        except MmtkError as error:
            site.below("use").of("").fault(use.place, str(error))
            return None

    def record(self, marked: Marked, config: type, site: Site, default: Any = REQUIRED) -> Any:
        """Check a mapping against a nested config dataclass; keys left out come from the field's default."""
        if isinstance(marked.value, config):
            return marked.value
        schema = Schema(dataclass_keys(config), config)
        if not isinstance(marked.value, Mapping):
            example = self._example(marked, schema.keys, site)
            return site.fault(marked.place, f"expected a mapping{example}, not {show(marked.value)}")
        if isinstance(default, config):
            schema = replace(
                schema,
                keys={name: Key(key.annotation, getattr(default, name)) for name, key in schema.keys.items()},
            )
        keys = self.keys(marked, schema.keys, site)
        if keys is None:
            return INVALID
        instance = self.contract(marked, schema, keys, site)
        return INVALID if instance is None else instance

    def _example(self, marked: Marked, known: Mapping[str, Key], site: Site) -> str:
        """Show a value given in place of a mapping under the one key that takes it, or one much like it."""
        if isinstance(marked.value, list):
            return ""
        takers = {
            name: marked.value
            for name, key in known.items()
            if coerce(marked, key.annotation, site.trial(), self) is not INVALID
        }
        if not takers and isinstance(marked.value, str):
            meant = {name: nearest_choice(marked.value, key.annotation) for name, key in known.items()}
            takers = {name: word for name, word in meant.items() if word is not None}
        if len(takers) != 1:
            return ""
        ((name, value),) = takers.items()
        return f" such as {{{name}: {show(value)}}}"

    def keys(self, marked: Marked, known: Mapping[str, Key], site: Site) -> dict[str, Any] | None:
        """Check every key of a mapping; None when something is wrong with one."""
        faults = len(site.problems)
        meant = set()
        for name in marked.value:
            if name not in known:
                near, hint = self.meant(name, marked, known, site)
                meant.add(near)
                site.below(name).fault(marked.value[name].named_at, f"unknown key; {hint}")
        values = {}
        inner = site.within(known)
        for name, key in known.items():
            if name in meant and name not in marked.value:
                values[name] = INVALID  # it has been said what stands in its place
            else:
                values[name] = self.key(marked, name, key, inner)
        wrong = len(site.problems) > faults or any(isinstance(value, Invalid) for value in values.values())
        return None if wrong else values

    def meant(self, name: str, marked: Marked, known: Mapping[str, Key], site: Site) -> tuple[str, str]:
        """Return the key that an unknown one was meant as, where it is of this mapping, and a hint."""
        if (above := site.owner_of(name)) is not None:
            return "", f"'{name}' is a key of {above or 'the recipe'}"
        for holder, key in known.items():
            if name in self.inner_keys(marked.value.get(holder), key):
                return "", f"did you mean '{holder}.{name}'?"
        near = nearest(name, known)
        return near or "", f"did you mean '{near}'?" if near else f"there are: {', '.join(known) or 'none'}"

    def inner_keys(self, given: Marked | None, key: Key) -> Mapping[str, Key]:
        """Return the keys of what a key holds: of the component given or the default one, or of a record."""
        use = given.value.get("use") if given is not None and isinstance(given.value, Mapping) else None
        default = key.default.use if isinstance(key.default, NodeDefault) else None
        kind = slot_kind(key.annotation)
        if kind is not None and (use is not None or default is not None):
            try:
                return component_schema(self.registry.get(kind, str(use.value) if use else str(default))).keys
            except MmtkError:
                return {}
        record: type = type(key.default)
        is_record = dataclasses.is_dataclass(record) and record is not NodeDefault
        return dataclass_keys(record) if is_record else {}

    def key(self, marked: Marked, name: str, key: Key, site: Site) -> Any:
        given = marked.value.get(name)
        if given is not None:
            return coerce(given, key.annotation, site.below(name), self, Markers.of_default(key.default))
        if key.default is REQUIRED:
            return site.below(name).fault(marked.named_at, "this key is required and missing")
        return self.default(key.default, key.annotation, site.below(name), marked.named_at)

    def default(self, value: Any, annotation: Any, site: Site, place: Place) -> Any:
        """Turn component nodes and paths in a default into checked ones; take the rest as it is."""
        if not _holds_parts(value):
            return value
        site = site.filled()
        if dataclasses.is_dataclass(value) and not isinstance(value, NodeDefault | type):
            marked = Marked({}, place, place)
            return self.record(marked, type(value), site, value)
        return coerce(mark(value, place), annotation, site, self)

    def contract(self, marked: Marked, schema: Schema, keys: Mapping[str, Any], site: Site) -> Any:
        """Construct the config and let it check its fields against each other; None when it objects."""
        if schema.config is None:
            return keys
        try:
            instance = schema.config(**keys)
            faults = list(instance.check()) if hasattr(instance, "check") else []
        except Exception as error:
            site.fault(marked.named_at, f"the config refuses these keys: {type(error).__name__}: {error}")
            return None
        if wrong := [fault for fault in faults if not _is_fault(fault)]:
            said = f"its config's check gives {wrong[0]!r}, which is no pair of a key and a message"
            site.fault(marked.named_at, said)
            return None
        for path, message in faults:
            names = path.split(".")
            while names and at(marked, names) is None:
                names.pop()
            found = at(marked, names)
            inner = site.below(path) if path else site
            inner.fault(found.named_at if found else marked.named_at, message)
        return None if faults else instance

    def path(self, marked: Marked, input_: Input | None, site: Site) -> Any:
        """Check a path, or ``{from: STAGE.OUTPUT}`` where the field is an input."""
        value = marked.value
        if self.files and isinstance(value, Path | str) and (fault := path_fault(value)):
            return site.fault(marked.place, fault)
        if isinstance(value, Path):
            return value
        if isinstance(value, Mapping) and set(value) == {"from"}:
            return self.reference(value["from"], input_, site)
        if not isinstance(value, str):
            also = " or {from: STAGE.OUTPUT}" if input_ else ""
            return site.fault(marked.place, f"expected a path{also}, not {show(value)}")
        if not value:
            return site.fault(marked.place, "expected a path, not an empty text")
        path = Path(value)
        if input_ is not None and self.files and (fault := what_is_missing(path)):
            is_output = isinstance(self.find_output(value, input_), Reference)
            hint = f"; did you mean {{from: {value}}}?" if is_output else ""
            return site.fault(marked.place, f"{fault}{hint}")
        if input_ is not None and self.files and (fault := what_is_else(path.expanduser(), input_.form)):
            return site.fault(marked.place, fault)
        if input_ == Input("checkpoint") and self.files and (fault := checkpoint_fault(path.expanduser())):
            return site.fault(marked.place, fault)
        return path

    def target(self, marked: Marked, site: Site) -> Any:
        """Check a path that will be written."""
        path = self.path(marked, None, site)
        if isinstance(path, Invalid):
            return path
        if self.files and (fault := what_bars(path)):
            return site.fault(marked.place, fault)
        return WrittenPath(path)

    def reference(self, source: Marked, input_: Input | None, site: Site) -> Any:
        if input_ is None:
            return site.fault(source.named_at, "this key takes a path and no stage's output")
        if source.value is BROKEN:
            return INVALID
        if not isinstance(source.value, str):
            return site.fault(source.place, f"expected STAGE.OUTPUT, not {show(source.value)}")
        found = self.find_output(source.value, input_)
        return found if isinstance(found, Reference) else site.fault(source.place, found)


def _is_fault(fault: Any) -> bool:
    """Whether a config's check has given a pair of texts; a text of two letters would pass for a pair."""
    return isinstance(fault, tuple | list) and len(fault) == 2 and all(isinstance(one, str) for one in fault)


def _holds_parts(value: Any) -> bool:
    if isinstance(value, NodeDefault | Path):
        return True
    if isinstance(value, Mapping):
        return any(_holds_parts(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_parts(item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return any(_holds_parts(getattr(value, field.name)) for field in dataclasses.fields(value))
    return False
