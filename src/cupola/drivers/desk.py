"""A thread that does one blocking thing after another, so that whoever asked can stop waiting for it.

For vendors' libraries that must be called from one thread and cannot be interrupted. What is abandoned goes on here until
it ends by itself; the next thing waits for that.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Desk:
    """Starts its thread at once; `close` ends it when what it does has ended."""

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def do(self, work: Callable[[], T]) -> Future[T]:
        """Have something done after everything asked before. Cancelling the future works until it has begun."""
        future: Future[T] = Future()
        self._work.put((work, future))
        return future

    def close(self, last: Callable[[], None], wait_s: float) -> Future[None]:
        """Do `last` at the end of everything asked so far, then end the thread. Waits for that at most so long; the future of `last`."""
        future = self.do(last)
        self._work.put(None)
        self._thread.join(wait_s)
        return future

    def _run(self) -> None:
        while (asked := self._work.get()) is not None:
            work, future = asked
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
            del work, future, asked  # a picture must not stay in memory until the next one
