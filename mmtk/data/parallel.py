"""Running a function over items in threads, with the results in the items' order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from torchdata import nodes

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, prefetch: int = 2
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order.

    Args:
        items: may be endless; one thread at a time takes from it, in order.
        workers: threads that work ahead; 0 works when asked.
        prefetch: items that each of them may be ahead.

    An exception of ``function`` or of ``items`` is raised where its result would have come.
    """

    def attempt(item: Item | Exception) -> tuple[Result | None, Exception | None]:
        if isinstance(item, Exception):
            return None, item
        try:
            return function(item), None
        except Exception as error:  # torchdata would raise it with a traceback in its message
            return None, error

    node = nodes.ParallelMapper(
        nodes.IterableWrapper(_guarded(items)),
        attempt,
        num_workers=workers,
        method="thread",
        max_concurrent=workers or None,
    )
    if workers and prefetch > 1:
        node = nodes.Prefetcher(node, workers * (prefetch - 1))
    # A Loader around it would be part of a reference cycle, and the threads would outlive this iterator.
    node.reset()
    for result, error in node:
        if error is not None:
            raise error
        yield result


def _guarded(items: Iterable[Item]) -> Iterator[Item | Exception]:
    """Yield the items, and in place of an exception that ends them the exception."""
    try:
        yield from items
    except Exception as error:
        yield error
