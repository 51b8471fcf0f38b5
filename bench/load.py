"""The load: clients that connect, speak in real time or as fast as they can, and measure.

``python bench/load.py JOB`` with a job in JSON; prints its report in JSON. It reads from the kernel
what the others used in the very window in which it counts messages.
"""

import asyncio
import gc
import json
import os
import random
import ssl
import sys
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import cycle

import uvloop
from contenders import KEY
from events import APPEND_MS, PATH
from grid import ticking
from machine import HOST
from measure import cpu_ns, memory_bytes, percentile, tree
from picows import WSError, ws_connect
from session import Record, Session

TICK_NS = 500_000
TICKS_PER_APPEND = APPEND_MS * 1_000_000 // TICK_NS
"""Sessions send at so many moments of 20 ms."""

CONNECTING = 20
"""So many connect at a time."""

CONNECT_SECONDS = 60
WARM_SECONDS = 1.0
SETTLE_SECONDS = 2.0
ANSWER_SECONDS = 10.0
"""What is not answered then is lost."""

UNANSWERED = 2
"""Deltas that a session that saturates is waiting for."""

WARM_CONNECTIONS = 5
LEAVE_SECONDS = 5.0

PERCENTILES = (50, 99, 99.9)
FOREVER_NS = 2**62


@dataclass(frozen=True)
class Job:
    """What to do.

    Attributes:
        work: a name in ``WORK``.
        ca_file: what to trust when the upstream is met without a relay.
        configures: the client sends a ``session.update``.
        pids: the processes that are watched, by their part: ``relay``, ``upstream``.
    """

    work: str
    port: int
    ca_file: str | None
    configures: bool
    sessions: int
    seconds: float
    pids: Mapping[str, int]


@dataclass
class Report:
    """What came of it.

    Attributes:
        messages: relayed in the window of so many seconds, both directions.
        cpu_ns: used in it, by part; the load is one, too.
        latency_ms: by percentile, from an append to its delta; of connections, until ready.
        upgrade_ms: by percentile, until the 101 of who has configured the session by then, else
            until ready.
        memory_bytes: what the relay grew by, for each session.
        connections: how many came and went in the window.
        first_audio_own_ms: the mean time that the first audio of an answer was with the relay.
    """

    messages: int = 0
    seconds: float = 0.0
    cpu_ns: Mapping[str, int] = field(default_factory=dict)
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    upgrade_ms: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: float = 0.0
    connections: int = 0
    first_audio_own_ms: float = 0.0
    faults: int = 0
    first_fault: str = ""


class Load:
    """Sessions, and what is known of them."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.record = Record()
        self.report = Report()
        self._tls = ssl.create_default_context(cafile=job.ca_file) if job.ca_file else None
        self._url = f"{'wss' if self._tls else 'ws'}://{HOST}:{job.port}{PATH}"
        self._made = 0
        self._pids = {part: tree(pid) for part, pid in job.pids.items()}
        self._pids["load"] = [os.getpid()]
        self._memory_before = 0

    async def connect(self) -> Session | None:
        """Open a session that is configured; None when that fails, which is a fault."""
        session = Session(self._made, self.record, configures=self.job.configures)
        self._made += 1
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await ws_connect(
                    lambda: session,
                    self._url,
                    ssl_context=self._tls,
                    websocket_handshake_timeout=CONNECT_SECONDS,
                    extra_headers={"Authorization": f"Bearer {KEY}"},
                )
                await session.ready
        except (OSError, WSError) as failure:
            self.record.faults.append(f"connecting: {failure!r}")
            return None
        return session

    @asynccontextmanager
    async def sessions(self) -> AsyncIterator[list[Session]]:
        """Keep as many sessions as the job wants; who breaks off meanwhile is a fault."""
        sessions: list[Session] = []

        async def connect_some() -> None:
            while self._made < self.job.sessions:
                if session := await self.connect():
                    sessions.append(session)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(CONNECTING):
                tasks.create_task(connect_some())
        yield sessions
        async with asyncio.TaskGroup() as tasks:
            for session in sessions:
                tasks.create_task(session.leave(LEAVE_SECONDS))

    async def measure(self) -> None:
        """Measure for as long as the job wants, once it runs evenly."""
        await asyncio.sleep(WARM_SECONDS)
        with self.window():
            await asyncio.sleep(self.job.seconds)

    async def warm_up(self) -> None:
        """Let the relay do once what it does only once, so that it counts for no session."""
        for _ in range(WARM_CONNECTIONS):
            await self.come_and_go()
        self._made = 0
        self.record.latencies_ns.clear()
        self.record.upgrades_ns.clear()
        self.report.connections = 0
        self._memory_before = self._memory()

    async def come_and_go(self) -> None:
        """Connect, and leave."""
        began_ns = time.monotonic_ns()
        if session := await self.connect():
            ready_ns = time.monotonic_ns()
            self.record.latencies_ns.append(ready_ns - began_ns)
            upgraded_ns = ready_ns if self.job.configures else session.upgraded_ns
            self.record.upgrades_ns.append(upgraded_ns - began_ns)
            self.report.connections += 1
            await session.leave(LEAVE_SECONDS)

    @contextmanager
    def window(self) -> Iterator[None]:
        """Measure what happens in the block."""
        record, report = self.record, self.report
        relayed, used = record.relayed, self._cpu_ns()
        record.since_ns, record.until_ns = time.monotonic_ns(), FOREVER_NS
        yield
        record.until_ns = time.monotonic_ns()
        report.cpu_ns = {part: ns - used[part] for part, ns in self._cpu_ns().items()}
        report.messages = record.relayed - relayed
        report.seconds = (record.until_ns - record.since_ns) / 1e9

    def weigh(self) -> None:
        """Measure what each session takes of the relay's memory."""
        self.report.memory_bytes = (self._memory() - self._memory_before) / self.job.sessions

    async def hear_out(self, sessions: Collection[Session]) -> None:
        """Let everybody finish; what is not answered then is a fault."""
        for session in sessions:
            session.finish()
        finished = {session.finished: session for session in sessions}
        _, unanswered = await asyncio.wait(finished, timeout=ANSWER_SECONDS)
        self.record.faults += [f"session {finished[f].number}: unanswered" for f in unanswered]

    def finished(self) -> Report:
        """Return the report."""
        self.report.latency_ms = _percentiles_ms(self.record.latencies_ns)
        self.report.upgrade_ms = _percentiles_ms(self.record.upgrades_ns)
        self.report.faults = len(self.record.faults)
        self.report.first_fault = next(iter(self.record.faults), "")
        return self.report

    def _cpu_ns(self) -> dict[str, int]:
        return {part: cpu_ns(pids) for part, pids in self._pids.items()}

    def _memory(self) -> int:
        return memory_bytes(self._pids.get("relay", ()))


def _percentiles_ms(times_ns: Iterable[int]) -> dict[str, float]:
    ordered = sorted(times_ns)
    return {str(p): percentile(ordered, p) / 1e6 for p in PERCENTILES} if ordered else {}


async def paced(load: Load) -> None:
    """Speak in real time: an append every 20 ms from each session, at moments of its own."""
    async with load.sessions() as sessions:
        speaking: list[list[Session]] = [[] for _ in range(TICKS_PER_APPEND)]
        moments = random.Random(len(sessions))  # noqa: S311  # the same in each run
        for session in sessions:
            moments.choice(speaking).append(session)
        moment = cycle(speaking)

        def speak() -> None:
            for session in next(moment):
                session.append()

        with ticking(TICK_NS, speak):
            await load.measure()
            load.weigh()
        await load.hear_out(sessions)


async def saturated(load: Load) -> None:
    """Speak as fast as answers come."""
    async with load.sessions() as sessions:
        for session in sessions:
            session.on_answer = Session.ask
            for _ in range(UNANSWERED):
                session.ask()
        await load.measure()
        for session in sessions:
            session.on_answer = Session.be_quiet
        await load.hear_out(sessions)


async def idle(load: Load) -> None:
    """Say a little, one session after the other, and then nothing."""
    async with load.sessions() as sessions:
        for session in sessions:
            session.ask()
            await load.hear_out([session])
        await asyncio.sleep(SETTLE_SECONDS)
        load.weigh()


async def alone(load: Load) -> None:
    """Connect and leave, one after the other; the latency is that of getting ready."""
    for _ in range(load.job.sessions):
        await load.come_and_go()


async def crowded(load: Load) -> None:
    """Connect and leave, many at a time, as often as it goes."""
    until = time.monotonic() + load.job.seconds

    async def keep_coming() -> None:
        while time.monotonic() < until:
            await load.come_and_go()

    with load.window():
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CONNECTING):
                tasks.create_task(keep_coming())


WORK: Mapping[str, Callable[[Load], Awaitable[None]]] = {
    work.__name__: work for work in (paced, saturated, idle, alone, crowded)
}


async def _work(job: Job) -> Report:
    load = Load(job)
    await load.warm_up()
    await WORK[job.work](load)
    return load.finished()


if __name__ == "__main__":
    # A pause of the load would be taken for one of the relay.
    gc.disable()
    print(json.dumps(asdict(uvloop.run(_work(Job(**json.loads(sys.argv[1])))))))
