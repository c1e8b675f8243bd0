"""Lets the tests that third parties ship with their plugins import these, as if they were installed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path += [str(path.parent) for path in sorted(Path(__file__).parent.glob("*/pyproject.toml"))]
