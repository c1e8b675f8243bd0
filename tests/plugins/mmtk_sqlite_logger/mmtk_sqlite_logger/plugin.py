"""What mmtk finds behind the entry point."""

from __future__ import annotations

from mmtk.api import Component, hookimpl

MMTK_API = ">=1.0,<2"


@hookimpl
def mmtk_components() -> list[Component]:
    return [
        Component(
            "logger",
            "sqlite",
            "mmtk_sqlite_logger.logger:SqliteLogger",
            "mmtk_sqlite_logger.configs:SqliteConfig",
            "figures of many runs in one SQLite file",
        )
    ]
