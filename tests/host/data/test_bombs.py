"""Hostile files are refused or decoded within stated time and memory, in a process that can't have more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmtk.data.configs import ImageLimits
from mmtk.data.images.decode import decode_image
from mmtk.errors import DataError

from .bombs import bombs, jpeg_of_many_scans, tiff

MEGABYTES, SECONDS = 300, 5
LIMITS = ImageLimits(max_pixels=4_000_000)
DECODED = {
    "gif_frames",
    "tiff_pages",
    "webp_frames",
    "webp_canvas_within_limits",
    "jpeg_exif",
    "jpeg_exif_circles",
}

# Decodes each file with no more memory than stated, and prints what came of it and how long it took.
DECODE = """
import json, resource, sys, time
from pathlib import Path
from mmtk.data.configs import ImageLimits
from mmtk.data.images.decode import decode_image
from mmtk.errors import DataError

folder, megabytes, pixels = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
now = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize:")) << 10
resource.setrlimit(resource.RLIMIT_AS, (now + (megabytes << 20),) * 2)
found = {}
for path in sorted(Path(folder).iterdir()):
    started = time.process_time()
    try:
        result = list(decode_image(path.read_bytes(), ImageLimits(max_pixels=pixels)).size)
    except DataError as error:
        result = str(error)
    found[path.name] = [result, time.process_time() - started]
print(json.dumps(found))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads how much memory a process has")
def test_bombs_take_little_time_and_memory(tmp_path: Path) -> None:
    files = bombs()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DECODE, tmp_path, str(MEGABYTES), str(LIMITS.max_pixels)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == set(files)
    for name, (result, seconds) in found.items():
        assert seconds < SECONDS, name
        assert isinstance(result, list) == (name in DECODED), (name, result)
        assert isinstance(result, list) or result.startswith(("image too large", "unreadable image")), result
        assert "MemoryError" not in str(result)


def test_a_jpeg_may_have_as_many_scans_as_its_size_allows() -> None:
    few, many = jpeg_of_many_scans(64, 20), jpeg_of_many_scans(64, 200)
    limits = ImageLimits(max_pixels=64 * 64)
    assert decode_image(few).size == decode_image(many).size == (64, 64)
    with pytest.raises(DataError, match=r"^image too large: 64x64 pixels in \d+ scans$"):
        decode_image(few, limits)
    with pytest.raises(DataError, match=r"^image too large: 64x64 pixels in 2\d\d scans$"):
        decode_image(many, ImageLimits(max_pixels=30_000))


@pytest.mark.parametrize("tile", [(60_000, 60_000), (2**31, 16), (16, 2**31)])
def test_tiles_that_are_larger_than_any_picture_are_refused(tile: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"^image too large: tiles of \d+x\d+ pixels$"):
        decode_image(tiff(16, 16, tile))
