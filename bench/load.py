"""The load process: clients that send audio in real time or as fast as possible.

``python bench/load.py JOB``, with a job in JSON, prints its report in JSON. It counts messages and
reads the kernel's counters of the other processes in the same window.
"""

import asyncio
import gc
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from itertools import cycle

import uvloop
from events import APPEND_MS
from job import Job, LoadReport
from load_generator import CONNECTING, LoadGenerator
from session import LoadSession
from timer import ticking

TICK_NS = 500_000
TICKS_PER_APPEND = APPEND_MS * 1_000_000 // TICK_NS
"""The sessions send at this number of different moments within 20 ms."""

SETTLE_SECONDS = 2.0

OFFER_SECONDS = 0.04
"""The time between two sessions that are offered."""

UNANSWERED = 2
"""The number of deltas that a saturating session waits for at the same time."""


async def paced(load: LoadGenerator) -> None:
    """Send in real time: each session sends an append every 20 ms, at its own moment."""
    async with load.sessions() as sessions:
        groups: list[list[LoadSession]] = [[] for _ in range(TICKS_PER_APPEND)]
        moments = random.Random(len(sessions))  # noqa: S311  # the same in each run
        for session in sessions:
            moments.choice(groups).append(session)
        group = cycle(groups)

        def send() -> None:
            for session in next(group):
                session.append()

        with ticking(TICK_NS, send):
            await load.measure()
            load.measure_memory()
        await load.finish(sessions)


async def offered(load: LoadGenerator) -> None:
    """Offer one session after the other; each that is admitted sends in real time from then on."""
    groups: list[list[LoadSession]] = [[] for _ in range(TICKS_PER_APPEND)]
    group = cycle(groups)

    def send() -> None:
        for session in next(group):
            session.append()

    async def join(number: int) -> None:
        await asyncio.sleep(number * OFFER_SECONDS)
        if session := await load.connect():
            groups[number % TICKS_PER_APPEND].append(session)

    with ticking(TICK_NS, send):
        async with asyncio.TaskGroup() as tasks:
            for number in range(load.job.sessions):
                tasks.create_task(join(number))
        await load.measure()
    sessions = [session for members in groups for session in members]
    load.report.connections = len(sessions)
    load.report.refused = load.job.sessions - len(sessions)
    async with asyncio.TaskGroup() as tasks:
        for session in sessions:
            tasks.create_task(session.leave(1))


async def saturated(load: LoadGenerator) -> None:
    """Send as fast as the answers arrive."""
    async with load.sessions() as sessions:
        for session in sessions:
            session.on_answer = LoadSession.ask
            for _ in range(UNANSWERED):
                session.ask()
        await load.measure()
        for session in sessions:
            session.on_answer = LoadSession.ignore_answer
        await load.finish(sessions)


async def idle(load: LoadGenerator) -> None:
    """Send one question from each session, one session after the other, then nothing more."""
    async with load.sessions() as sessions:
        for session in sessions:
            session.ask()
            await load.finish([session])
        await asyncio.sleep(SETTLE_SECONDS)
        load.measure_memory()


async def alone(load: LoadGenerator) -> None:
    """Connect and leave, one connection after the other; the latency is the time until ready."""
    for _ in range(load.job.sessions):
        await load.connect_and_leave()


async def crowded(load: LoadGenerator) -> None:
    """Connect and leave, ``CONNECTING`` connections at a time, as often as possible."""
    until = time.monotonic() + load.job.seconds

    async def keep_connecting() -> None:
        while time.monotonic() < until:
            await load.connect_and_leave()

    with load.window():
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CONNECTING):
                tasks.create_task(keep_connecting())


WORK: Mapping[str, Callable[[LoadGenerator], Awaitable[None]]] = {
    work.__name__: work for work in (paced, offered, saturated, idle, alone, crowded)
}


async def _run(job: Job) -> LoadReport:
    load = LoadGenerator(job)
    await load.warm_up()
    await WORK[job.work](load)
    return load.complete_report()


if __name__ == "__main__":
    # A garbage collection of the load would look like a delay of the relay.
    gc.disable()
    print(json.dumps(asdict(uvloop.run(_run(Job(**json.loads(sys.argv[1])))))))
