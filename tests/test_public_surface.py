"""No public name, signature or hook changes unnoticed: the snapshot and the changelog know of it."""

from __future__ import annotations

import difflib

import pytest

from mmtk.api_version import VERSION
from tests.public_surface import CHANGELOG, COMMAND, SNAPSHOT, changed, newest_section, surface, unmentioned


def test_the_public_surface_is_that_of_the_snapshot() -> None:
    old, new = SNAPSHOT.read_text(encoding="utf-8"), surface()
    if old == new:
        return
    changes = "\n".join(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0))
    pytest.fail(
        f"what plugins lean on has changed: {', '.join(changed(old, new)) or 'its version'}.\n"
        f"Add a line to {CHANGELOG.name} under the next version that names them in backticks, raise VERSION "
        f"in mmtk/api_version.py (the second number for an addition, the first for anything else), then run\n"
        f"    {COMMAND}\n\n{changes}"
    )


def test_the_changelog_starts_with_the_section_of_this_version() -> None:
    heading = newest_section(CHANGELOG.read_text(encoding="utf-8")).splitlines()[0]
    assert f"mmtk.api {'.'.join(map(str, VERSION))}" in heading


def test_every_kind_of_change_is_seen() -> None:
    text = surface()
    for line in (
        "NegativeSampler.__call__(self, text_to_image: Tensor, image_to_text: Tensor, matching: Tensor,"
        " generator: torch.Generator) -> Negatives",
        "Tokenizer.pad_id: int",
        "gather_with_grad(tensor: Tensor, counts: Sequence[int] | None = None) -> Tensor",
        "hook mmtk_components() -> Iterable[Component]",
        "kind momentum: Momentum, injected: model",
    ):
        assert line in text.splitlines()
        name = line.partition(":")[0].partition("(")[0].split()[-1]
        assert changed(text, text.replace(line, f"{line}, changed")) == [name]
    assert " at 0x" not in text


def test_a_change_is_told_when_the_newest_section_names_it_or_its_class() -> None:
    section = newest_section("# C\n\n## 2\n- `Head.extra` is new, `mmtk.api.rank()` too\n\n## 1\n- `Loss`\n")
    names = ["Head", "Head.extra", "Loss", "Loss.__call__", "rank"]
    assert unmentioned(names, section) == ["Head", "Loss", "Loss.__call__"]
    assert unmentioned(["Loss.__call__"], "- `Loss` takes weights") == []
