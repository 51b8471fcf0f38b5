"""Work in a thread beside the event loop."""

import sys
import threading

import pytest

from relay.wire.off_loop import SWITCH_SECONDS, off_loop

pytestmark = pytest.mark.both_loops


async def test_work_runs_in_another_thread_that_gives_way_to_the_loop_more_often() -> None:
    before = sys.getswitchinterval()
    thread, interval = await off_loop(lambda: (threading.get_ident(), sys.getswitchinterval()))

    assert thread != threading.get_ident()
    assert interval == pytest.approx(SWITCH_SECONDS)
    assert sys.getswitchinterval() == before


async def test_an_exception_of_the_work_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await off_loop(lambda: 1 // 0)
