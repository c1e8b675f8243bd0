"""Recipes made wrong at random: by their structure and by their bytes."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import yaml

Place = tuple[Any, Any]  # a mapping or a list, and a key or an index of it

_WORDS = """
x itc train adamw auto null 1e-3 -1 a.b ../.. / ~ * data/*.tar ${ ${} ${a ${definitions}
${definitions.web} ${stages} ${.} ${..a} ${a[0]} \\${a} ${oc.env:HOME} ${env:HOME} ${env:HOME,3} ${env:}
${${a}} ${a:b} ${oc.decode:'${a}'} ??? s3:// s3://a/b.tar {a} x-{0..3}.tar pretrain emoji.web_train
vocabulary.vocabulary blip/med /blip %s {0} ` | [1
"""
_KEYS = """
use from stages definitions profiles environment extends name seed lr model . a.b a[0] << heads ${a}
__class__ self checkpoint 0 device run_dir data
"""
WORDS = [*_WORDS.split(), "", " ", "\x00", "\x1b[31m", "\u202e", "猫", "a" * 5000, "a: b", "# c", "x\ny"]
KEYS = [*_KEYS.split(), "", "x\ny", "\u202e"]
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 3, 2**63, 10**400, 0.5, -0.0, 1e308, float("inf"), float("nan")),
    *([], {}, [[]], [None], {"use": None}, {"use": 3}, {"use": "x"}, {"use": "ema"}, {"use": []}),
    *(
        {"from": None},
        {"from": "a.b"},
        {"from": ["a"]},
        {"from": "emoji.web_train", "x": 1},
        {"a": {"b": {}}},
    ),
]
SNIPPETS = [
    *(
        b"&a ",
        b"*a",
        b"!!python/object:x ",
        b"!x ",
        b"<<: ",
        b"---\n",
        b"...\n",
        b"? ",
        b": ",
        b"- ",
        b"{",
        b"}",
    ),
    *(b"[", b"]", b"'", b'"', b"|\n", b">\n", b"#", b"%YAML 1.1\n", b"\t", b"\x00", b"\xff", b"\xef\xbb\xbf"),
    *(
        b"\r",
        b"@",
        b"`",
        b"${",
        b"&a [*a]",
        b"${definitions.web}",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\xed\xa0\x80",
    ),
    *(b"1" * 5000, b"[" * 400),
]


def mutated(text: str, rng: random.Random) -> bytes:
    """Return the recipe with a few mistakes in it."""
    if rng.random() < 0.6:
        data = yaml.safe_load(text)
        for _ in range(rng.randint(1, 4)):
            _change(data, rng)
        text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=rng.random() < 0.5)
        if rng.random() < 0.7:
            return text.encode()
    raw = text.encode()
    for _ in range(rng.randint(1, 4)):
        raw = rng.choice(BYTE_CHANGES)(raw, rng)
    return raw


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def argument(text: str, rng: random.Random) -> str:
    """Return a random override, of a key that the recipe has or of another."""
    data = yaml.safe_load(text)
    keys: list[str] = []
    while isinstance(data, dict | list) and data and (not keys or rng.random() < 0.8):
        options = list(data) if isinstance(data, dict) else range(len(data))
        key = rng.choice(list(options))
        keys.append(str(key))
        data = data[key]
    if rng.random() < 0.4:
        keys.append(rng.choice(KEYS))
    if rng.random() < 0.2:
        keys[rng.randrange(len(keys))] = _misspelt(rng.choice(keys), rng)
    value = rng.choice(WORDS) if rng.random() < 0.6 else str(rng.choice(VALUES))
    return f"{'.'.join(keys)}{'=' if rng.random() < 0.95 else ''}{value}".replace("\x00", "")


def _places(data: Any) -> Iterator[Place]:
    for key in list(data) if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], dict | list):
            yield from _places(data[key])


def _change(data: Any, rng: random.Random) -> None:
    places = list(_places(data))
    if places:
        holder, key = rng.choice(places)
        rng.choice(CHANGES)(holder, key, places, rng)


def _drop(holder: Any, key: Any, _places: list[Place], _rng: random.Random) -> None:
    del holder[key]


def _replace(holder: Any, key: Any, _places: list[Place], rng: random.Random) -> None:
    holder[key] = copy.deepcopy(rng.choice(VALUES) if rng.random() < 0.5 else rng.choice(WORDS))


def _rename(holder: Any, key: Any, _places: list[Place], rng: random.Random) -> None:
    if isinstance(holder, dict):
        holder[rng.choice(KEYS) if rng.random() < 0.4 else _misspelt(str(key), rng)] = holder.pop(key)


def _misspell(holder: Any, key: Any, _places: list[Place], rng: random.Random) -> None:
    if isinstance(holder[key], str):
        holder[key] = _misspelt(holder[key], rng)


def _copy_in(holder: Any, key: Any, places: list[Place], rng: random.Random) -> None:
    other, place = rng.choice(places)
    holder[key] = copy.deepcopy(other[place])


def _wrap(holder: Any, key: Any, _places: list[Place], rng: random.Random) -> None:
    holder[key] = [holder[key]] if rng.random() < 0.5 else {rng.choice(KEYS): holder[key]}


def _add(holder: Any, _key: Any, _places: list[Place], rng: random.Random) -> None:
    value = copy.deepcopy(rng.choice([*VALUES, *WORDS]))
    if isinstance(holder, dict):
        holder[rng.choice(KEYS)] = value
    else:
        holder.insert(rng.randint(0, len(holder)), value)


def _nest(holder: Any, key: Any, _places: list[Place], rng: random.Random) -> None:
    for _ in range(rng.choice((5, 30, 60))):
        holder[key] = {"a": holder[key]} if rng.random() < 0.5 else [holder[key]]


CHANGES = (_drop, _replace, _replace, _rename, _rename, _misspell, _copy_in, _wrap, _add, _nest)


def _misspelt(word: str, rng: random.Random) -> str:
    if not word:
        return "x"
    at = rng.randrange(len(word))
    kind = rng.randrange(3)
    if kind == 0:
        return word[:at] + word[at + 1 :]
    if kind == 1:
        return word[:at] + word[at] + word[at:]
    return word[:at] + word[at : at + 2][::-1] + word[at + 2 :]


def _cut(raw: bytes, rng: random.Random) -> bytes:
    start = rng.randint(0, len(raw))
    return raw[:start] + raw[start + rng.choice((1, 1, 2, 10, 100, len(raw))) :]


def _insert(raw: bytes, rng: random.Random) -> bytes:
    at = rng.randint(0, len(raw))
    return raw[:at] + rng.choice(SNIPPETS) + raw[at:]


def _flip(raw: bytes, rng: random.Random) -> bytes:
    at = rng.randint(0, len(raw))
    return raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]


def _lines(raw: bytes, rng: random.Random) -> bytes:
    """Move a line, double it or change its indentation."""
    lines = raw.split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(3)
    if kind == 0:
        lines[one], lines[other] = lines[other], lines[one]
    elif kind == 1:
        lines.insert(other, lines[one])
    else:
        lines[one] = b" " * rng.randint(0, 8) + lines[one].lstrip()
    return b"\n".join(lines)


BYTE_CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _cut,
    _insert,
    _insert,
    _flip,
    _lines,
    _lines,
)
