"""Opens sessions to a relay, and measures latencies, CPU time and memory."""

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

from contenders import KEY
from events import PATH
from job import Job, LoadReport
from machine import HOST
from picows import WSError, ws_connect
from process_stats import cpu_ns, memory_bytes, percentile, tree
from session import LoadSession, Measurements

CONNECTING = 20
"""The number of connections that are opened at the same time."""

CONNECT_SECONDS = 60
WARM_SECONDS = 1.0
ANSWER_SECONDS = 10.0
"""An answer that takes longer is lost."""

WARM_CONNECTIONS = 5
LEAVE_SECONDS = 5.0

PERCENTILES = (50, 99, 99.9)
FOREVER_NS = 2**62


class LoadGenerator:
    """The sessions of a job, and their measurements."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.measurements = Measurements()
        self.report = LoadReport()
        self._tls = ssl.create_default_context(cafile=job.ca_file) if job.ca_file else None
        self._url = f"{'wss' if self._tls else 'ws'}://{HOST}:{job.port}{PATH}"
        self._opened = 0
        self._pids = {part: tree(pid) for part, pid in job.pids.items()}
        self._pids["load"] = [os.getpid()]
        self._memory_before = 0

    async def connect(self) -> LoadSession | None:
        """Open and configure a session; None if that fails, which is a fault."""
        session = LoadSession(self._opened, self.measurements, configures=self.job.configures)
        self._opened += 1
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
            self.measurements.faults.append(f"connecting: {failure!r}")
            return None
        return session

    @asynccontextmanager
    async def sessions(self) -> AsyncIterator[list[LoadSession]]:
        """Provide the job's number of sessions; a session that ends in the block is a fault."""
        sessions: list[LoadSession] = []

        async def connect_some() -> None:
            while self._opened < self.job.sessions:
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
        """Measure for the seconds of the job, after a warm-up."""
        await asyncio.sleep(WARM_SECONDS)
        with self.window():
            await asyncio.sleep(self.job.seconds)

    async def warm_up(self) -> None:
        """Open some connections first: work that the relay does only once counts for no session."""
        for _ in range(WARM_CONNECTIONS):
            await self.connect_and_leave()
        self._opened = 0
        self.measurements.latencies_ns.clear()
        self.measurements.upgrades_ns.clear()
        self.report.connections = 0
        self._memory_before = self._memory()

    async def connect_and_leave(self) -> None:
        """Open a connection, measure the time until it is ready, and close it."""
        began_ns = time.monotonic_ns()
        if session := await self.connect():
            ready_ns = time.monotonic_ns()
            self.measurements.latencies_ns.append(ready_ns - began_ns)
            upgraded_ns = ready_ns if self.job.configures else session.upgraded_ns
            self.measurements.upgrades_ns.append(upgraded_ns - began_ns)
            self.report.connections += 1
            await session.leave(LEAVE_SECONDS)

    @contextmanager
    def window(self) -> Iterator[None]:
        """Measure the messages and the CPU time of the block."""
        measurements, report = self.measurements, self.report
        relayed, used = measurements.relayed, self._cpu_ns()
        measurements.since_ns, measurements.until_ns = time.monotonic_ns(), FOREVER_NS
        yield
        measurements.until_ns = time.monotonic_ns()
        report.cpu_ns = {part: ns - used[part] for part, ns in self._cpu_ns().items()}
        report.messages = measurements.relayed - relayed
        report.seconds = (measurements.until_ns - measurements.since_ns) / 1e9

    def measure_memory(self) -> None:
        """Measure the growth of the relay's memory for each session."""
        self.report.memory_bytes = (self._memory() - self._memory_before) / self.job.sessions

    async def finish(self, sessions: Collection[LoadSession]) -> None:
        """Wait for the answers to all appends; an answer that does not come is a fault."""
        for session in sessions:
            session.finish()
        finished = {session.finished: session for session in sessions}
        _, unanswered = await asyncio.wait(finished, timeout=ANSWER_SECONDS)
        self.measurements.faults += [
            f"session {finished[future].number}: unanswered" for future in unanswered
        ]

    def complete_report(self) -> LoadReport:
        """Return the report with all measurements."""
        faults = self.measurements.faults
        self.report.latency_ms = _percentiles_ms(self.measurements.latencies_ns)
        self.report.upgrade_ms = _percentiles_ms(self.measurements.upgrades_ns)
        self.report.faults = len(faults)
        self.report.first_fault = next(iter(faults), "")
        return self.report

    def _cpu_ns(self) -> dict[str, int]:
        return {part: cpu_ns(pids) for part, pids in self._pids.items()}

    def _memory(self) -> int:
        return memory_bytes(self._pids.get("relay", ()))


def _percentiles_ms(times_ns: Iterable[int]) -> dict[str, float]:
    ordered = sorted(times_ns)
    return {str(p): percentile(ordered, p) / 1e6 for p in PERCENTILES} if ordered else {}
