"""Threads for functions that cannot be stopped when they hang."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from threading import BoundedSemaphore, Thread
from typing import Any, TypeVar

T = TypeVar("T")


class TooManyThreads(OSError):
    """The maximum of threads are running, or hang."""


class Threads(Executor):
    """Runs each function in a daemon thread of its own.

    A function that hangs delays no other function and not the end of the process, as it would in a
    pool.
    """

    def __init__(self, name: str, max_threads: int) -> None:
        self._name = name
        self._free = BoundedSemaphore(max_threads)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run a function in a new thread.

        Raises:
            TooManyThreads: `max_threads` are running, or hang.
        """
        if not self._free.acquire(blocking=False):
            raise TooManyThreads("too many threads are running or hang")
        future: Future[T] = Future()
        work = partial(fn, *args, **kwargs)
        Thread(target=self._work, args=(future, work), name=self._name, daemon=True).start()
        return future

    def _work(self, future: Future[T], work: Callable[[], T]) -> None:
        try:
            if future.set_running_or_notify_cancel():
                future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # the future raises it
            future.set_exception(error)
        finally:
            self._free.release()
