"""The timer that measures the lag of the event loop."""

import asyncio
from time import monotonic

import pytest

from relay.core.lag import MIN_SAMPLES
from relay.wire.loop_lag import SAMPLE_SECONDS, LoopLag

pytestmark = [pytest.mark.both_loops, pytest.mark.usefixtures("nothing_is_left")]

BLOCKED_SECONDS = 0.4


async def test_a_loop_that_is_blocked_lags_by_the_time_that_it_is_blocked() -> None:
    loop_lag = LoopLag()
    with loop_lag.measuring():
        await loop_lag.next_sample()
        until = monotonic() + BLOCKED_SECONDS
        while monotonic() < until:
            pass
        await loop_lag.next_sample()
        worst = loop_lag.worst_seconds()
        assert not loop_lag.is_above(100)

    assert worst >= BLOCKED_SECONDS - SAMPLE_SECONDS - 0.01


async def test_long_turns_count_whole() -> None:
    """A loop whose turns take 0.12 s lags by 0.12 s, and not by the 0.02 s of one timer."""
    loop, loop_lag = asyncio.get_running_loop(), LoopLag()
    turning = True

    def turn() -> None:
        until = monotonic() + 0.12
        while monotonic() < until:
            pass
        if turning:
            loop.call_later(0, turn)

    with loop_lag.measuring():
        turn()
        for _ in range(MIN_SAMPLES):
            await loop_lag.next_sample()
        turning = False
        assert loop_lag.is_above(100)


async def test_the_end_of_the_measurement_wakes_the_tasks_that_wait_for_a_sample() -> None:
    loop_lag = LoopLag()
    async with asyncio.TaskGroup() as tasks:
        with loop_lag.measuring():
            tasks.create_task(loop_lag.next_sample())
            await asyncio.sleep(0)
