"""New sessions take turns while the event loop is late."""

import asyncio
from time import monotonic
from typing import cast

import pytest

from relay.config.limits import Limits
from relay.core.errors import RelayFull
from relay.ledger.accounts import Accounts
from relay.sessions import admission
from relay.sessions.admission import TURN_SAMPLES, Admission
from relay.wire.loop_lag import LoopLag

pytestmark = pytest.mark.usefixtures("nothing_is_left")

LIMITS = Limits(max_lag_ms=100)
LATE, ON_TIME = 0.06, 0.01


class Overload:
    """An admission, and samples of the lag that the test gives."""

    def __init__(self) -> None:
        self.loop_lag = LoopLag()
        self.admission = Admission(cast("Accounts", None), self.loop_lag)

    async def sample(self, *lags_seconds: float) -> None:
        """Take samples; let the waiting sessions react to each."""
        for seconds in lags_seconds:
            self.loop_lag.lag.sample(monotonic(), seconds)
            self.loop_lag._wake()
            for _ in range(5):
                await asyncio.sleep(0)

    async def wait(self) -> None:
        """Wait for a turn as a new session does."""
        await self.admission.wait_for_turn(LIMITS)


async def test_a_loop_in_time_lets_sessions_start_at_once() -> None:
    overload = Overload()
    await overload.wait()
    await overload.sample(ON_TIME)
    await overload.wait()


async def test_after_a_pause_all_waiting_sessions_start_with_the_next_sample() -> None:
    overload = Overload()
    await overload.sample(ON_TIME, ON_TIME, ON_TIME, 45.0)
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(overload.wait()) for _ in range(50)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        await overload.sample(ON_TIME)


async def test_while_the_loop_stays_late_one_session_after_the_other_starts() -> None:
    overload = Overload()
    await overload.sample(LATE)
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(overload.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        started = []
        for _ in range(3):
            await overload.sample(*[LATE] * TURN_SAMPLES)
            started.append(sum(task.done() for task in waiting))

    assert started == [1, 2, 3]


async def test_when_the_loop_lags_all_waiting_sessions_are_refused() -> None:
    overload = Overload()
    await overload.sample(LATE)

    async def refused() -> None:
        with pytest.raises(RelayFull):
            await overload.wait()

    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(refused()) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        await overload.sample(*[0.2] * 5)


async def test_a_session_whose_turn_does_not_come_starts_unless_the_loop_lags(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "TURN_SECONDS", 0.01)
    overload = Overload()
    await overload.sample(LATE)
    await overload.wait()
    await overload.sample(*[0.2] * 9)
    with pytest.raises(RelayFull):
        await overload.wait()


async def test_without_a_limit_no_session_waits() -> None:
    overload = Overload()
    await overload.sample(*[60.0] * 5)
    await overload.admission.wait_for_turn(Limits(max_lag_ms=None))
