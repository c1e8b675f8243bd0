"""What a section of the report may offer beside its title and HTML (see ``mmtk.kinds.ReportSection``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable


@runtime_checkable
class Headlined(Protocol):
    """A section with something to say at the top of the page."""

    def headline(self) -> str:
        """Return one plain sentence with the section's chief figures; empty when there is nothing to say."""


@runtime_checkable
class Styled(Protocol):
    """A section that needs rules of its own in the page's style sheet."""

    def css(self) -> str:
        """Return CSS. The same text from several sections is used once."""


@runtime_checkable
class Scripted(Protocol):
    """A section that a script makes more of; without scripts its HTML must still make sense."""

    def script(self) -> str:
        """Return JavaScript without ``</script`` and ``<!--``. The same text from several sections runs once.

        It runs at the page's end and finds its sections itself. What it inserts is text, never markup: the
        page's policy forbids every other script, handlers in attributes included.
        """


@runtime_checkable
class Informed(Protocol):
    """A section whose script needs data."""

    def data(self) -> object:
        """Return what JSON can hold, without NaN and infinities.

        The script finds it as the text of the ``<script class="section-data">`` in the section's element
        ``<section>``.
        """


@runtime_checkable
class Accompanied(Protocol):
    """A section with files beside the page, for what would make one file too large."""

    def files(self) -> Iterable[tuple[str, bytes]]:
        """Yield names, of letters, digits, ``-``, ``_`` and ``.``, and contents; none if the page is enough.

        Where there are some, the ``<section>`` has their folder's address, with a slash at its end, in the
        attribute ``data-files``. A page that was opened as a file may not fetch: the section's script adds an
        element ``<script src>`` for each file that it wants, which must be JavaScript.
        """
