"""From the members of a tar to samples: which belong together, which can be used, and what they say.

The reader with random access and the sequential one both go by this module, so they agree on every shard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mmtk.data.readers.tar_headers import BrokenOffError, CutOffError, Member, NotATarError, Tape, members
from mmtk.data.shards import IMAGE_EXTENSIONS
from mmtk.data.texts import check_unicode, drop_blank
from mmtk.errors import DataError
from mmtk.types import RawSample

MAX_IMAGE = 256 << 20
MAX_TEXT = 1 << 20
MAX_MEMBERS = 1000
TEXTS = frozenset({"txt", "json"})


@dataclass(slots=True)
class Group:
    """Consecutive members of one key, a sample as WebDataset defines it; or a fault of the shard itself.

    Attributes:
        key: the sample's key; the shard's file name where the shard itself is at fault.
        members: by extension, in the shard's order.
        refusal: why the sample can't be used; empty if it can.
        data: the bytes of the parts, where they were asked for.
    """

    key: str
    members: dict[str, Member] = field(default_factory=dict)
    refusal: str = ""
    data: dict[str, bytes] = field(default_factory=dict)

    @property
    def image(self) -> Member | None:
        """The first member that is a picture."""
        return next((one for name, one in self.members.items() if name in IMAGE_EXTENSIONS), None)

    def takes(self, member: Member) -> bool:
        return member.key == self.key and member.extension not in self.members

    def add(self, member: Member) -> bool:
        """Take a member in, and say whether its bytes are a part of the sample."""
        if len(self.members) == MAX_MEMBERS:
            self.refusal = self.refusal or f"too many members: more than {MAX_MEMBERS}"
            return False
        is_part = member.extension in TEXTS or (member.extension in IMAGE_EXTENSIONS and self.image is None)
        self.members[member.extension] = member
        limit = MAX_TEXT if member.extension in TEXTS else MAX_IMAGE
        if member.refusal:
            self.refusal = self.refusal or member.refusal
        elif is_part and member.size > limit:
            self.refusal = (
                self.refusal
                or f"too large a member: the {member.extension} has {member.size} bytes, the limit is {limit}"
            )
        return is_part and not self.refusal

    def close(self) -> None:
        """Judge the sample when all of its members are there."""
        if self.refusal:
            return
        if self.image is None:
            self.refusal = f"no image: the sample has only {', '.join(sorted(self.members))}"
        elif not TEXTS & self.members.keys():
            self.refusal = "no text: the sample has neither a txt nor a json"


def groups(tape: Tape, shard: str, *, load: bool) -> Iterator[Group]:
    """Yield the samples of a tar, usable or refused, and last the shard's own fault if it has one.

    Of a file that is cut off or damaged, the whole samples before the damage are kept; the sample that is cut
    is refused, and so is the shard, under its file name, where it breaks off between members.

    Args:
        tape: the tar, at its start.
        shard: its file name.
        load: whether to read the bytes of the parts of usable samples.
    """
    last: Group | None = None
    members_before = 0
    try:
        for member in members(tape):
            if last is None or not last.takes(member):
                if last is not None:
                    last.close()
                    members_before = len(last.members)
                    yield last
                last = Group(member.key)
            if last.add(member) and load:
                last.data[member.extension] = _load(tape, member)
    except CutOffError as cut:
        yield from _cut_off(last, cut)
        return
    except BrokenOffError:
        yield from _broken_off(last, members_before, shard)
        return
    except NotATarError:
        yield Group(shard, refusal="damaged shard: empty, or not an uncompressed tar file")
        return
    if last is None:
        yield Group(shard, refusal="empty shard")
        return
    last.close()
    yield last


def _load(tape: Tape, member: Member) -> bytes:
    data = tape.read(member.size)
    if len(data) < member.size:
        raise CutOffError(member, len(data))
    return data


def _cut_off(last: Group | None, cut: CutOffError) -> Iterator[Group]:
    member = cut.member
    # Without the file's size, the cut shows when the member is in its group already.
    if last is not None and last.members.get(member.extension) is not member and not last.takes(member):
        last.close()
        yield last
    reason = f"cut-off shard: it ends in the {member.extension}, after {cut.there} of {member.size} bytes"
    yield Group(member.key, refusal=reason)


def _broken_off(last: Group | None, members_before: int, shard: str) -> Iterator[Group]:
    place = "before its first sample" if last is None else f"behind {last.key!r}"
    if last is not None:
        last.close()
        # The break may have taken members of the last sample: it has fewer than the one before it.
        if len(last.members) < members_before:
            last = Group(last.key, refusal="cut-off shard: it breaks off within this sample")
        yield last
    yield Group(shard, refusal=f"damaged shard: it breaks off {place}, without an end mark")


def assemble(
    key: str, image: bytes, text: bytes | None, facts: bytes | None, source: str | None, location: str
) -> RawSample:
    """Make a sample of the bytes of its parts.

    Texts are the lines of ``text``; without it, the ``caption`` of ``facts`` (a string or a list). Where both
    are the same, as img2dataset writes them, it is one text, whatever line breaks it has. ``image_id`` (the
    key where it is missing) and ``source`` are read, and a ``status`` of a failed download; nothing else.

    Raises DataError when the text or the facts can't be read.
    """
    known = {} if facts is None else _facts(facts)
    texts = _captions(known) if text is None else _lines(text, known.get("caption"))
    image_id, found_source = (_word(known, name) for name in ("image_id", "source"))
    check_unicode(*texts, image_id, found_source)
    status = known.get("status")
    if isinstance(status, str) and status.startswith("failed"):
        raise DataError(f"no image: its json has the status {status[:60]!r}")
    return RawSample(
        key=key,
        image=image,
        texts=texts,
        image_id=image_id or key,
        source=found_source if source is None else source,
        location=location,
    )


def _lines(text: bytes, caption: Any) -> tuple[str, ...]:
    try:
        whole = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"text is not UTF-8: byte {error.start} of the txt") from error
    return drop_blank([" ".join(whole.split())] if whole == caption else whole.splitlines())


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
