"""Reading WebDataset shards with random access."""

from __future__ import annotations

import glob
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmtk.data.shards import IMAGE_EXTENSIONS
from mmtk.data.tar_index import Group, Member, index_shard
from mmtk.data.texts import check_unicode, drop_blank
from mmtk.errors import DataError, SampleError
from mmtk.types import Quarantined, RawSample

BRACES = re.compile(r"\{([^{}]+)\}")
NUMBERS = re.compile(r"(\d+)\.\.(\d+)")


class Entry(NamedTuple):
    """Where one sample's parts lie."""

    shard: Path
    key: str
    image: Member
    text: Member | None
    facts: Member | None


class WebDatasetReader:
    """Image-text pairs in tar shards: ``KEY.webp`` (or another image type), ``KEY.txt`` and ``KEY.json``.

    Texts are the lines of the ``.txt``; without one, the JSON's ``caption`` (a string or a list). The JSON's
    ``image_id`` (the key where it is missing) and ``source`` are read, nothing else of it. Opening it reads
    the tar headers. Reading a sample opens its shard anew, so threads and processes may share a reader.
    """

    def __init__(self, path: Path | Sequence[Path], source: str | None = None) -> None:
        """Raises DataError when a path names nothing or a shard can't be opened."""
        self.source = source
        self.shards = list(dict.fromkeys(find_shards([path] if isinstance(path, str | Path) else path)))
        self.quarantined: list[Quarantined] = []
        self._entries: list[Entry] = []
        seen: dict[str, Path] = {}
        for shard in self.shards:
            index = index_shard(shard)
            self.quarantined += index.quarantined
            if not index.groups and not index.quarantined:
                self.quarantined.append(Quarantined(shard.name, "empty shard", str(shard)))
            for group in index.groups:
                reason = _unusable(group)
                if group.key in seen:
                    reason = f"duplicate key: it is in {seen[group.key].name} before"
                if reason:
                    self.quarantined.append(Quarantined(group.key, reason, str(shard)))
                    continue
                seen[group.key] = shard
                self._entries.append(_entry(shard, group))

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> RawSample:
        """Read one sample. Raises SampleError when its text or its JSON can't be read."""
        entry = self._entries[index]
        try:
            return self._read(entry)
        except DataError as error:
            raise SampleError(str(error), entry.key, str(entry.shard)) from error
        except OSError as error:
            raise SampleError(f"unreadable shard: {error.strerror}", entry.key, str(entry.shard)) from error

    def _read(self, entry: Entry) -> RawSample:
        descriptor = os.open(entry.shard, os.O_RDONLY)
        try:
            image = _read(descriptor, entry.image)
            text = _read(descriptor, entry.text) if entry.text else None
            facts = _facts(_read(descriptor, entry.facts)) if entry.facts else {}
        finally:
            os.close(descriptor)
        texts = _captions(facts) if text is None else _lines(text)
        image_id, source = (_word(facts, name) for name in ("image_id", "source"))
        check_unicode(*texts, image_id, source)
        return RawSample(
            key=entry.key,
            image=image,
            texts=texts,
            image_id=image_id or entry.key,
            source=source if self.source is None else self.source,
            location=str(entry.shard),
        )


def find_shards(paths: Iterable[str | Path]) -> Iterator[Path]:
    """Yield the shards that folders, files and patterns name. Raises DataError for one that names none."""
    for path in paths:
        for name in expand_braces(str(path)):
            place = Path(name)
            if place.is_dir():
                found = sorted(place.glob("*.tar"))
                if not found:
                    raise DataError(f"no *.tar shards in the folder {place}")
            elif place.exists():
                found = [place]
            else:
                found = sorted(Path(match) for match in glob.glob(name))  # noqa: PTH207 (absolute patterns)
                if not found:
                    raise DataError(f"no such file, folder or pattern with a match: {place}")
            yield from found


def expand_braces(pattern: str) -> list[str]:
    """Expand ``{0000..0012}`` (the width is kept) and ``{a,b}`` as a shell does, the leftmost slowest."""
    parts = BRACES.split(pattern)
    choices = [[part] if position % 2 == 0 else _choices(part) for position, part in enumerate(parts)]
    return ["".join(choice) for choice in itertools.product(*choices)]


def _choices(inside: str) -> list[str]:
    numbers = NUMBERS.fullmatch(inside)
    if numbers is None:
        return inside.split(",") if "," in inside else ["{" + inside + "}"]
    first, last = numbers.groups()
    width = len(first) if first.startswith("0") else 0
    return [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]


def _image_member(group: Group) -> Member | None:
    return next((member for name, member in group.members.items() if name in IMAGE_EXTENSIONS), None)


def _unusable(group: Group) -> str:
    if _image_member(group) is None:
        return f"no image: the sample has only {', '.join(sorted(group.members))}"
    if "txt" not in group.members and "json" not in group.members:
        return "no text: the sample has neither a txt nor a json"
    return ""


def _entry(shard: Path, group: Group) -> Entry:
    image = _image_member(group)
    assert image is not None, "groups without an image are quarantined"
    return Entry(shard, group.key, image, group.members.get("txt"), group.members.get("json"))


def _read(descriptor: int, member: Member) -> bytes:
    data = os.pread(descriptor, member.size, member.offset)
    if len(data) < member.size:
        raise DataError(
            f"cut-off shard: the {member.extension} ends after {len(data)} of {member.size} bytes"
        )
    return data


def _lines(text: bytes) -> tuple[str, ...]:
    try:
        lines = text.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"text is not UTF-8: byte {error.start} of the txt") from error
    return drop_blank(lines)


def _facts(data: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"bad JSON: {error}") from error
    if not isinstance(facts, dict):
        raise DataError(f"bad JSON: an object is expected, not {type(facts).__name__}")
    return facts


def _word(facts: dict[str, Any], name: str) -> str:
    """A fact as text; empty where it is missing or null."""
    value = facts.get(name)
    return "" if value is None else str(value)


def _captions(facts: dict[str, Any]) -> tuple[str, ...]:
    captions = facts.get("caption")
    if captions is None:
        raise DataError("no text: the sample has no txt, and its json has no caption")
    texts = captions if isinstance(captions, list) else [captions]
    if not all(isinstance(text, str) for text in texts):
        raise DataError("bad caption: the json's caption must be a string or a list of strings")
    return drop_blank(texts)
