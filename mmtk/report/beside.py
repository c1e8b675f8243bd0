"""Files beside the page, for sections that would make one file too large."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from mmtk.kinds import ReportSection
from mmtk.report.section import Accompanied
from mmtk.stages.reports import FILES

FILE_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


def write_files(folder: Path, stage: str, sections: Mapping[str, ReportSection]) -> dict[str, str]:
    """Write the files of ``sections``, which are named by their anchors, in place of those of an earlier try.

    They lie in ``report_files/STAGE/ANCHOR``: a run's folder takes over the pages of several stages.

    Returns:
        The address of a section's folder, relative to the page, by its anchor; only of sections with files.
    """
    shutil.rmtree(folder / FILES, ignore_errors=True)
    addresses = {}
    for anchor, section in sections.items():
        if not isinstance(section, Accompanied):
            continue
        address = f"{FILES}/{stage}/{anchor}/"
        for name, content in section.files():
            assert FILE_NAME.fullmatch(name), f"a section's file can't be named {name!r}"
            path = folder / address / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            addresses[anchor] = address
    return addresses
