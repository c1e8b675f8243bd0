"""The pages of this folder as a site, by Sphinx: ``make docs``.

The pages stay plain Markdown that reads well on a code host too. What a site needs besides is added here: the
navigation, and what becomes of links that lead out of this folder. Files of the repository are copied into
the site. Folders have no page in it, so of a link to one its words remain; a link to nothing is an error.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from sphinx.addnodes import download_reference, pending_xref
from sphinx.application import Sphinx

project = "mmtk"
author = "the authors of mmtk"
html_title = "mmtk"
extensions = ["myst_parser"]
myst_heading_anchors = 4  # the same names that a code host gives to headings
html_theme = "furo"
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False

NAVIGATION = {
    "Start": ["tutorial", "coming-from"],
    "How to": ["data", "capfilt", "capfilt_steps", "thresholds", "inference", "weights"],
    "How to train": ["training", "scaling", "resume"],
    "Reference": ["recipes", "reference", "mistakes", "discover"],
    "Design": ["plugins", "architecture", "modules"],
    "Measured": ["benchmarks", "ablation"],
}
NEW_PAGES = "How to"  # where a page goes that isn't named above


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", add_navigation)
    app.connect("doctree-read", redirect_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the navigation at the end of the start page, where a code host would show it as code."""
    if page != "index":
        return
    named = {"index", *(name for names in NAVIGATION.values() for name in names)}
    for caption, names in NAVIGATION.items():
        new = sorted(app.env.found_docs - named) if caption == NEW_PAGES else []
        listed = "\n".join([*names, *new])
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"


def redirect_links(app: Sphinx, page: nodes.document) -> None:
    """Make links to Markdown outside this folder downloads, and links to folders plain words."""
    folder = Path(page["source"]).parent
    for link in list(page.findall(pending_xref)):
        target = link["reftarget"]
        if link["refdomain"] == "doc" and target not in app.env.found_docs:
            outside = download_reference(reftarget=f"/{target}.md", refdoc=link["refdoc"], reftype="myst")
            link.replace_self(outside)
            outside += link.children
        elif link["refdomain"] is None and (folder / target).is_dir():
            link.replace_self(link.children)
