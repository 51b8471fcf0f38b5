"""Work that would block the event loop runs in a thread, beside the sessions."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from relay.wire.threads import Threads

T = TypeVar("T")

SWITCH_SECONDS: Final = 0.0005
"""The time for which a thread may keep the interpreter while the loop waits for it. The default of
Python is ten times as long, for each turn of the loop and each callback of uvloop."""

_USUAL_SECONDS: Final = sys.getswitchinterval()

_threads: Final = Threads("off-loop", 8)


async def off_loop(work: Callable[[], T]) -> T:
    """Return the result of ``work``, or raise its exception; the loop goes on meanwhile.

    ``work`` is not stopped when this is cancelled.
    """
    with _switching_often():
        return await asyncio.get_running_loop().run_in_executor(_threads, work)


@contextmanager
def _switching_often() -> Iterator[None]:
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(_USUAL_SECONDS)
