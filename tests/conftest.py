from __future__ import annotations

import signal

import pytest

# A shell that starts pytest in the background, or under nohup, has it and all that tests start ignore these.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a CUDA device where there is none, so that ``make test-all`` runs anywhere."""
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if not needing:
        return
    import torch

    if torch.cuda.is_available():
        return
    for item in needing:
        item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
