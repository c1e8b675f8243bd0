"""Reads an HTML page strictly: what it shows, what it links to and whether it is well formed."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "input", "link", "hr"}
LINKS = {"src", "href", "xlink:href", "srcset", "action", "data", "poster", "formaction", "background"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \"double\" 'single' & </del></p></style>"


@dataclass
class Element:
    """An element with its attributes and the text inside it, that of its children included."""

    tag: str
    attributes: dict[str, str]
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join("".join(self.pieces).split())

    @property
    def classes(self) -> set[str]:
        return set(self.attributes.get("class", "").split())


class Page(HTMLParser):
    """All elements of a page. Raises AssertionError for a tag that isn't closed in its place."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {[element.tag for element in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> repeats an attribute: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1].tag == tag, f"</{tag}> inside <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.pieces.append(data)

    def all(self, tag: str, *classes: str) -> list[Element]:
        return [e for e in self.elements if e.tag == tag and set(classes) <= e.classes]

    def one(self, tag: str, *classes: str) -> Element:
        found = self.all(tag, *classes)
        assert len(found) == 1, f"{len(found)} elements <{tag}> of class {classes}"
        return found[0]

    @property
    def text(self) -> str:
        return " ".join(
            e.text for e in self.elements if e.tag in ("p", "li", "td", "th", "h1", "h2", "h3", "dd")
        )


def policy_of(page: Page) -> str:
    """The page's Content Security Policy; empty for a part of a page."""
    policies = [e.attributes["content"] for e in page.all("meta") if "http-equiv" in e.attributes]
    assert len(policies) <= 1
    return policies[0] if policies else ""


def may_run(script: Element, policy: str) -> bool:
    """Whether a script is the page's own: inline, and one whose hash the policy has."""
    digest = hashlib.sha256("".join(script.pieces).encode()).digest()
    return not script.attributes and f"'sha256-{base64.b64encode(digest).decode()}'" in policy


def check_harmless(page: Page) -> None:
    """Nothing that runs but the page's own scripts, nothing from outside, and no id twice."""
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        assert element.tag not in ("iframe", "object", "embed", "link", "base", "form")
        if element.tag == "script" and element.attributes.get("type") != "application/json":
            assert may_run(element, policy_of(page))
        for name, value in element.attributes.items():
            assert not name.startswith("on"), f"<{element.tag} {name}>"
            if name in LINKS:
                assert value.startswith(("#", "data:image/")), f"<{element.tag} {name}={value[:60]!r}>"
        if element.tag == "style":
            text = "".join(element.pieces)
            assert "url(" not in text
            assert "@import" not in text
