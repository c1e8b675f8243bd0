"""YAML text to marked data. Scalars follow YAML 1.2: ``3e-4`` is a number and ``no`` a word."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mmtk.printable import printable
from mmtk.recipe.growth import DEEPEST, MOST_VALUES
from mmtk.recipe.marks import BROKEN, Marked, Place
from mmtk.recipe.problems import Problem, UnreadableError, join

TAG = "tag:yaml.org,2002:"
LINE_ENDS = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # as the parser counts lines


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", [*"-+0123456789"]),
    ("float", r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", [*"-+0123456789."]),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", [*"-+."]),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"{TAG}{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)
IMPLICIT_RESOLVERS = _Loader.yaml_implicit_resolvers


def read_yaml(text: str, source: str, problems: list[Problem], origin: Place | None = None) -> Marked:
    """Parse one YAML document.

    Args:
        text: the document.
        source: what places name as its file.
        problems: faults that leave the rest readable (a key that stands twice) are added here.
        origin: where the text begins in an argument of the command line; None for a file with lines.

    Raises:
        UnreadableError: it is no YAML, or its aliases make far more of it than a recipe.
    """
    places = _Places(text, source, origin)
    try:
        node = yaml.compose(text, _Loader)
        large = node and _largest(node, {})
    except yaml.MarkedYAMLError as error:
        raise UnreadableError(*_explained(error, places)) from None
    except yaml.reader.ReaderError as error:
        shown = printable(chr(error.character))
        fault = f'not valid YAML: the character {shown} is not allowed; write "{shown}" for it'
        raise UnreadableError(places.at(error.position), fault) from None
    except yaml.YAMLError as error:
        raise UnreadableError(places.whole, f"not valid YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise UnreadableError(places.whole, "not valid YAML: nested too deeply") from None
    if node is None:
        return Marked(None, places.whole)
    if large:
        message = f"more than {MOST_VALUES:,} values, its aliases followed"
        raise UnreadableError(places.of(large.start_mark), message)
    return _Reader(places, problems).read(node, "", ())


def _explained(error: yaml.MarkedYAMLError, places: _Places) -> tuple[Place, str]:
    """Say where and what is wrong in words of someone who writes YAML, not of a parser."""
    place = places.of(error.problem_mark or error.context_mark)
    problem, context = error.problem or "", error.context or ""
    if "could not find expected ':'" in problem:
        place = places.of(error.context_mark)
        problem = "a key needs a colon with a blank behind it: KEY: VALUE"
    elif "found another document" in problem:
        problem = "a second document begins here, and a recipe is one; take this '---' out"
    elif "<block end>" in problem:
        problem = "the indentation doesn't fit the lines above"
    elif "'\\t'" in problem:
        problem = "a tab; YAML is indented with blanks"
    elif "mapping values are not allowed" in problem:
        problem = (
            "a ': ' behind no key: a value that has one needs quotes, the line above lacks the blank behind "
            "its colon, or the indentation doesn't fit"
        )
    elif context == "while scanning a quoted scalar":
        place = places.of(error.context_mark)
        problem = "the quote isn't closed"
    elif context.startswith("while parsing a flow") and error.context_mark:
        opened = places.of(error.context_mark)
        problem = f"{problem}; the bracket{f' of {opened}' if opened.line else ''} isn't closed"
    return place, f"not valid YAML: {problem or context}"


class _Places:
    """Where the marks of a text are: in a file, or behind ``origin`` in an argument."""

    def __init__(self, text: str, source: str, origin: Place | None) -> None:
        self.whole = origin or Place(source)
        self._origin = origin
        self._text = text
        self._lines = LINE_ENDS.split(text.removeprefix("\ufeff"))

    def of(self, mark: Any) -> Place:
        return self.whole if mark is None else self._place(mark.index, mark.line, mark.column)

    def at(self, index: int) -> Place:
        """Return the place of a character that the parser didn't come to."""
        before = LINE_ENDS.split(self._text[:index].removeprefix("\ufeff"))
        return self._place(index, len(before) - 1, len(before[-1]))

    def _place(self, index: int, line: int, column: int) -> Place:
        if self._origin is not None:
            return replace(self._origin, column=self._origin.column + index)
        text = self._lines[line] if line < len(self._lines) else ""
        return Place(self.whole.source, line + 1, column + 1, text)


def _largest(node: Node, sizes: dict[int, int]) -> Node | None:
    """Return the innermost part with too many values, its aliases followed; None if there is none.

    Args:
        sizes: values of the parts that were counted before, by ``id``; a part within itself counts once.
    """
    sizes[id(node)] = 1
    if isinstance(node, ScalarNode):
        return None
    parts = [part for pair in node.value for part in pair] if isinstance(node, MappingNode) else node.value
    for part in parts:
        if id(part) not in sizes and (found := _largest(part, sizes)):
            return found
        sizes[id(node)] += sizes[id(part)]
    return node if sizes[id(node)] > MOST_VALUES else None


class _Reader:
    def __init__(self, places: _Places, problems: list[Problem]) -> None:
        self.places = places
        self.problems = problems

    def place(self, node: Node) -> Place:
        return self.places.of(node.start_mark)

    def fault(self, node: Node, path: str, message: str) -> Marked:
        self.problems.append(Problem(self.place(node), path, message))
        return Marked(BROKEN, self.place(node))

    def read(self, node: Node, path: str, above: tuple[Node, ...]) -> Marked:
        if any(node is one for one in above):
            return self.fault(node, path, "an anchor that contains itself")
        if len(above) > DEEPEST:
            return self.fault(node, path, f"nested more than {DEEPEST} levels deep")
        if isinstance(node, MappingNode) and node.tag == f"{TAG}map":
            return Marked(self.mapping(node, path, (*above, node)), self.place(node))
        if isinstance(node, SequenceNode) and node.tag == f"{TAG}seq":
            items = [self.read(item, join(path, i), (*above, node)) for i, item in enumerate(node.value)]
            return Marked(items, self.place(node))
        if isinstance(node, ScalarNode) and node.tag in _SCALARS:
            try:
                return Marked(_SCALARS[node.tag](node.value), self.place(node))
            except ValueError:
                pass
        return self.fault(
            node,
            path,
            f"the YAML tag '{node.tag.replace(TAG, '!!')}' doesn't fit or isn't known here; leave it out",
        )

    def mapping(self, node: MappingNode, path: str, above: tuple[Node, ...]) -> dict[str, Marked]:
        found: dict[str, Marked] = {}
        inherited: dict[str, Marked] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{TAG}merge":
                inherited = {**self.merged(value_node, path, above), **inherited}
                continue
            key = key_node.value
            if not isinstance(key_node, ScalarNode) or key_node.tag != f"{TAG}str":
                shown = f"'{key}'" if isinstance(key, str) else "this one"
                self.fault(key_node, path, f"a key must be text, and {shown} is not; put it in quotes")
                continue
            if key in found:
                first = found[key].key_place
                self.fault(key_node, join(path, key), f"the key stands twice; the first is at {first}")
                continue
            value = self.read(value_node, join(path, key), above)
            found[key] = Marked(value.value, value.place, self.place(key_node))
        return {**inherited, **found}

    def merged(self, node: Node, path: str, above: tuple[Node, ...]) -> dict[str, Marked]:
        """The keys that ``<<:`` takes in; of several mappings the first one wins."""
        read = self.read(node, path, above)
        sources = read.value if isinstance(read.value, list) else [read]
        keys: dict[str, Marked] = {}
        for source in reversed(sources):
            if isinstance(source.value, dict):
                keys |= source.value
            elif source.value is not BROKEN:
                self.fault(node, path, "'<<' takes a mapping or a list of mappings")
        return keys


_SCALARS: dict[str, Any] = {
    f"{TAG}null": lambda _text: None,
    f"{TAG}bool": lambda text: text.lower() == "true",
    f"{TAG}int": lambda text: int(text, 16) if text[:2] in ("0x", "0X") else int(text),
    f"{TAG}float": lambda text: float(text.replace(".inf", "inf").replace(".nan", "nan")),
    f"{TAG}str": str,
}
