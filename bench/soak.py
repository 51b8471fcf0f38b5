"""The soak test: many short sessions, and the memory of the relay over time.

``python bench/soak.py [--minutes 60] [--sessions 200] [--write]`` prints a table; ``--write`` also
writes it to docs/performance-tables.md, and a plot beside it. Sessions are short, so that there are
many: a leak of each session becomes visible.
"""

import argparse
import asyncio
import os
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import mean

import uvloop
from contenders import CONTENDERS, ROOT
from job import Job
from load_generator import LoadGenerator
from machine import allow_many_files
from process_stats import memory_bytes, tree
from runner import Runner, start_runner
from session import LoadSession

PAGE, PLOT = ROOT / "docs/performance-tables.md", ROOT / "docs/soak.svg"
PLACE = re.compile(r"(?<=<!-- soak -->\n).*(?=<!-- /soak -->)", re.DOTALL)
MIB = 1024 * 1024

LIFE_SECONDS = 30, 120
"""The duration of a session: at random between these."""

TURN_SECONDS = 2.0
"""Each session sends 100 ms of audio this often, and gets an answer: this tests memory, not CPU."""

SAMPLE_SECONDS = 10.0


@dataclass
class SoakResult:
    """The result of a soak test.

    Attributes:
        memory_mib: The memory of the relay; each value follows the minute of its reading.
        sessions: The number of sessions.
        faults: A description of each fault.
    """

    memory_mib: list[tuple[float, float]] = field(default_factory=list)
    sessions: int = 0
    faults: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[str]:
        """Yield the rows of a table: the mean memory in each sixth of the time."""
        minutes = self.memory_mib[-1][0]
        yield "| minutes | memory of the relay, MiB |"
        yield "|---|---|"
        for part in range(6):
            first, last = minutes * part / 6, minutes * (part + 1) / 6
            values = [mib for minute, mib in self.memory_mib if first <= minute <= last]
            if values:
                yield f"| {first:.0f} to {last:.0f} | {mean(values):.1f} |"


async def soak(load: LoadGenerator, pid: int, minutes: float) -> SoakResult:
    """Keep the job's number of sessions open for ``minutes``; each ended one is replaced."""
    result, began = SoakResult(), time.monotonic()
    until = began + 60 * minutes
    lives = random.Random(1)  # noqa: S311  # the same in each run

    async def keep_connecting() -> None:
        while time.monotonic() < until:
            if session := await load.connect():
                result.sessions += 1
                await _talk(session, min(until, time.monotonic() + lives.uniform(*LIFE_SECONDS)))

    async def sample() -> None:
        while (now := time.monotonic()) < until:
            mib = memory_bytes(tree(pid)) / MIB
            result.memory_mib.append(((now - began) / 60, mib))
            await asyncio.sleep(SAMPLE_SECONDS)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sample())
        for _ in range(load.job.sessions):
            tasks.create_task(keep_connecting())
    result.faults = load.measurements.faults
    return result


async def _talk(session: LoadSession, until: float) -> None:
    while time.monotonic() < until:
        session.ask()
        await asyncio.sleep(TURN_SECONDS)
    session.finish()
    await session.finished
    await session.leave(seconds=5)


def plot(points: Sequence[tuple[float, float]]) -> str:
    """Return a line chart of memory over minutes as SVG; the axis begins at zero."""
    width, height, left, bottom = 640, 240, 48, 28
    minutes, top = points[-1][0], 1.25 * max(mib for _, mib in points)
    xs = (left + (width - left - 8) * minute / minutes for minute, _ in points)
    ys = (height - bottom - (height - bottom - 8) * mib / top for _, mib in points)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    floor = height - bottom
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" \
font-family="sans-serif" font-size="12">
<rect width="{width}" height="{height}" fill="white"/>
<path d="M{left} 8V{floor}H{width - 8}" fill="none" stroke="#888"/>
<text x="{left - 6}" y="18" text-anchor="end">{top:.0f}</text>
<text x="{left - 6}" y="{floor}" text-anchor="end">0</text>
<text x="{left}" y="{height - 8}">0</text>
<text x="{width - 8}" y="{height - 8}" text-anchor="end">{minutes:.0f} minutes</text>
<text x="{left + 8}" y="20">memory of the relay, MiB</text>
<polyline points="{line}" fill="none" stroke="#06c" stroke-width="1.5"/>
</svg>
"""


def _run(runner: Runner, sessions: int, minutes: float) -> SoakResult:
    relay = next(contender for contender in CONTENDERS if contender.name == "relay")
    with relay.running(runner.folder, runner.upstream(tls=True)) as server:
        # The relay has little to do here: other processes have the core first.
        os.sched_setscheduler(server.pid, os.SCHED_OTHER, os.sched_param(0))
        job = Job(
            work="soak",
            port=server.port,
            ca_file=None,
            configures=False,
            sessions=sessions,
            seconds=60 * minutes,
            pids={"relay": server.pid},
        )

        async def work() -> SoakResult:
            return await soak(LoadGenerator(job), server.pid, minutes)

        return uvloop.run(work())


def main() -> int:
    """Run the soak test; return 1 if there was a fault."""
    parser = argparse.ArgumentParser(prog="soak")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    allow_many_files()
    with start_runner() as runner:
        result = _run(runner, given.sessions, given.minutes)
    summary = "\n".join(result.rows())
    summary += (
        f"\n\n{result.sessions:,} sessions, {given.sessions} at a time, with TLS to the upstream;"
    )
    summary += f" faults: {len(result.faults)}.\n"
    print(summary, *result.faults[:3], sep="\n")
    if given.write:
        PLOT.write_text(plot(result.memory_mib))
        section = f"\n{summary}\n![Memory of the relay](soak.svg)\n\n"
        PAGE.write_text(PLACE.sub(lambda _: section, PAGE.read_text()))
    return 1 if result.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
