"""A timer finer than the timers of an event loop, which count in milliseconds."""

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLOCK_MONOTONIC = 1
_NS_PER_SECOND = 1_000_000_000


class _Timer(ctypes.Structure):
    """``struct itimerspec`` of timerfd_settime(2); ``os.timerfd_create`` came with Python 3.13."""

    _fields_ = tuple(
        (name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns")
    )


@contextmanager
def ticking(every_ns: int, tick: Callable[[], None]) -> Iterator[None]:
    """Call ``tick`` every ``every_ns`` until the end of the block; late calls are made up for."""
    loop = asyncio.get_running_loop()
    file = _LIBC.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK)
    timer = _Timer(*divmod(every_ns, _NS_PER_SECOND), *divmod(every_ns, _NS_PER_SECOND))
    if file < 0 or _LIBC.timerfd_settime(file, 0, ctypes.byref(timer), None) < 0:
        raise OSError(ctypes.get_errno(), "timerfd")

    def wake() -> None:
        (ticks,) = struct.unpack("Q", os.read(file, 8))
        for _ in range(ticks):
            tick()

    loop.add_reader(file, wake)
    try:
        yield
    finally:
        loop.remove_reader(file)
        os.close(file)
