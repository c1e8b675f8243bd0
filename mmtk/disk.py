"""What is said of a disk that takes no more."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def cause_and_room(error: OSError, folder: Path) -> str:
    """Say why writing in ``folder``, which need not be there yet, has failed, and how much room is left."""
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free / 2**20
    return f"{error.strerror or error} ({free:,.0f} MiB are free there)"
