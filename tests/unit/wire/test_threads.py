"""Threads for work that blocks."""

from collections.abc import Callable
from typing import Any

import pytest

from relay.wire import threads


def test_work_that_is_cancelled_before_its_thread_runs_is_not_done_and_frees_the_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[Callable[[], None]] = []

    class LateThread:
        """A thread that runs when the test calls it."""

        def __init__(self, target: Callable[..., None], args: tuple[Any, ...], **_: Any) -> None:
            self.start = lambda: started.append(lambda: target(*args))

    monkeypatch.setattr(threads, "Thread", LateThread)
    executor, done = threads.Threads("test", max_threads=1), list[int]()
    executor.submit(done.append, 1).cancel()
    with pytest.raises(threads.TooManyThreads):
        executor.submit(done.append, 2)
    started.pop()()
    executor.submit(done.append, 3)
    started.pop()()

    assert done == [3]
