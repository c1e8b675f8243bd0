"""The picture of a report in the README: ``python docs/make_picture.py runs/picture/report.html``.

It was taken of this run, the quickstart on food and drink alone:

    mmtk run recipes/quickstart.yaml run_dir=runs/picture 'definitions.categories=[food-drink]' \
        definitions.steps=100 'definitions.epochs={pretrain: 40, captioner: 8, filter: 8}' \
        stages.vocabulary.vocab_size=500

It needs playwright, of the extra dev, and a Chromium on PATH.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

TARGET = Path(__file__).parent / "images" / "report.png"
SECTION = "#pictures-and-their-texts"
WIDTH, HEIGHT = 1040, 945  # the heading of the gallery and two rows of pictures
COLOURS = 128
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")


def main(report: Path) -> None:
    browser_path = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if browser_path is None:
        sys.exit("needs a Chromium on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH + 60, "height": HEIGHT})
        page.goto(report.resolve().as_uri())
        box = page.locator(SECTION).bounding_box()
        assert box is not None, f"{report} has no section {SECTION}"
        clip = {"x": box["x"], "y": box["y"], "width": box["width"], "height": min(HEIGHT, box["height"])}
        shot = page.screenshot(clip=clip, full_page=True)
        browser.close()
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS).save(TARGET, optimize=True)
    print(f"{TARGET}: {TARGET.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/make_picture.py REPORT")
    main(Path(sys.argv[1]))
