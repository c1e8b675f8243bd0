"""A Chromium that opens reports as files, and says what went wrong in them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT = 60_000  # milliseconds, for machines that do much else
DESKTOP = {"width": 1280, "height": 900}


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window; the test is skipped where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"needs a Chromium on PATH: one of {', '.join(NAMES)}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # The sandbox needs rights that containers lack; the pages are the tests' own.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, url: str, **settings: Any) -> Iterator[Page]:
    """A page in a context of its own. In the end, nothing must have failed or asked for anything outside."""
    context = browser.new_context(**{"viewport": DESKTOP, "reduced_motion": "reduce"} | settings)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda message: wrong.append(f"console: {message.text}"))
    page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: wrong.extend(_outside(request.url)))
    page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url[:200]}"))
    try:
        page.goto(url)
        yield page
        assert not wrong, wrong
    finally:
        context.close()


def _outside(url: str) -> list[str]:
    return [] if url.startswith(("file:", "data:image/")) else [f"asks for {url}"]
