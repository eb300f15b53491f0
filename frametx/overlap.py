"""Decoding and encoding in threads of their own, beside the network."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

T = TypeVar("T")
_END = object()


def prefetch(items: Iterable[T], depth: int = 4) -> Iterator[T]:
    """Yield the items of an iterable, the next `depth` of which a thread prepares meanwhile.

    Errors of the iterable appear where its item would have. Closing the generator stops the thread.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        pending: deque[Future[Any]] = deque(pool.submit(next, iterator, _END) for _ in range(depth))
        try:
            while (item := pending.popleft().result()) is not _END:
                pending.append(pool.submit(next, iterator, _END))
                yield item
        finally:
            pool.shutdown(cancel_futures=True)


class Background:
    """Calls made one after the other in a thread, a bounded number of them ahead.

    An error of a call appears at the next `call`, or when the `with` block ends.
    """

    def __init__(self, depth: int = 8) -> None:
        self._depth = depth
        self._pending: deque[Future[Any]] = deque()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="background")

    def __enter__(self) -> Self:
        return self

    def call(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Queue a call; waits while `depth` calls are queued."""
        while len(self._pending) >= self._depth:
            self._pending.popleft().result()
        future = self._pool.submit(function, *arguments)
        self._pending.append(future)
        return future

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                while self._pending:
                    self._pending.popleft().result()
            finally:
                self._pool.shutdown(cancel_futures=True)
        else:
            self._pool.shutdown(cancel_futures=True)
