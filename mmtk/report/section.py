"""What a section of the report may offer beside its title and HTML (see ``mmtk.kinds.ReportSection``)."""

from __future__ import annotations

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
