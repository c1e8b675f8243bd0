"""What several modules of tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.host.engine.stage_runs import run


@pytest.fixture(scope="session")
def through(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training stage that nothing interrupted, to read from."""
    folder = tmp_path_factory.mktemp("through")
    run(folder)
    return folder
