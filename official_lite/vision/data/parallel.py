"""Works on items in parallel and keeps their order and the memory bounded."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import TypeVar

__all__ = ['map_in_order']

Item = TypeVar('Item')
Result = TypeVar('Result')


def map_in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    executor: futures.Executor | None,
    *,
    num_ahead: int,
) -> Iterator[Result]:
    """Yields `function(item)` in the order of the items.

    Unlike `Executor.map` it takes no more than `num_ahead` items before their results are asked for.

    Args:
        function: What to do; with processes it must be importable.
        items: May be endless.
        executor: Where to do it. None means here, one after the other.
        num_ahead: Most items that are in work or done and not yet taken.
    """
    if executor is None:
        yield from map(function, items)
        return
    pending: collections.deque[futures.Future[Result]] = collections.deque()
    try:
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) >= num_ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
