"""The line that a message is about, with a mark under the column."""

from __future__ import annotations

from mmtk.printable import printable
from mmtk.recipe.marks import Place

LONGEST = 100  # characters of a line that are shown
BEFORE = 60  # of them at most in front of the column


def excerpt(place: Place) -> list[str]:
    """Return two lines, or none where the place has no text: ``| epohcs: 3`` and ``| ^``.

    Indentation is left out, what doesn't print is spelt out, and of a long line the part around the column is
    shown. The mark stands right in a terminal also behind characters that are two cells wide.
    """
    if not place.text.strip():
        return []
    from rich.cells import cell_len

    column = min(max(place.column - 1, 0), len(place.text))
    indented = len(place.text) - len(place.text.lstrip())
    start = min(indented, column)
    cut = column - start > BEFORE
    if cut:
        start = column - BEFORE
    end = start + LONGEST
    lead = "…" if cut else ""
    tail = "…" if len(place.text.rstrip()) > end else ""
    before, after = printable(place.text[start:column]), printable(place.text[column:end].rstrip())
    return [f"| {lead}{before}{after}{tail}", f"| {' ' * cell_len(lead + before)}^"]
