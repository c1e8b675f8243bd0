"""A stage's loggers, which hear of figures by the hook that plugins implement."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mmtk.component_hooks import hooks_of
from mmtk.distributed.collectives import rank
from mmtk.hookspecs import hookimpl

if TYPE_CHECKING:
    from mmtk.events import Listener, MetricsLogged
    from mmtk.kinds import Blueprint, Logger
    from mmtk.stages.context import StageContext


class Feed:
    """Gives a logger the figures of ``mmtk_metrics_logged``."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    @hookimpl
    def mmtk_metrics_logged(self, event: MetricsLogged) -> None:
        self._logger.log(event.step, event.figures)


@contextlib.contextmanager
def fed_loggers(
    blueprints: Mapping[str, Blueprint[Logger]], context: StageContext, start: int
) -> Iterator[None]:
    """Within, let rank 0's loggers hear of figures and of what else they have hooks for.

    Each is built, rewound to step ``start`` where it can be, and closed at the end. What fails before the
    first step ends the stage; later on a logger is left out like any listener, unless it is ``required``.
    """
    listeners = context.registry.listeners
    heard: list[tuple[str, Listener]] = []
    with contextlib.ExitStack() as stack:
        for name, blueprint in blueprints.items() if rank() == 0 else ():
            logger = blueprint.build(folder=context.folder)
            who, required = f"logger '{name}'", getattr(logger, "required", False)
            if required:
                stack.callback(logger.close)
            else:
                stack.callback(listeners.attempt, who, "when it was closed", logger.close)
            if hasattr(logger, "rewind"):
                logger.rewind(start)
            for part in (Feed(logger), logger):
                heard += hooks_of(part, who, required=required)
        with listeners.joined_by(heard):
            yield
