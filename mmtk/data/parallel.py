"""Running a function over items in threads, with the results in the items' order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from torchdata import nodes

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order.

    Args:
        workers: threads that work ahead, by at most two items each; 0 works when asked.

    An exception of ``function`` is raised where its result would have come.
    """

    def attempt(item: Item) -> tuple[Result | None, Exception | None]:
        try:
            return function(item), None
        except Exception as error:  # torchdata would raise it with a traceback in its message
            return None, error

    node = nodes.ParallelMapper(nodes.IterableWrapper(items), attempt, num_workers=workers, method="thread")
    for result, error in nodes.Loader(node):
        if error is not None:
            raise error
        yield result
