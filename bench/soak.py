"""The soak: sessions that come, talk and go, and what the memory of the relay does meanwhile.

``python bench/soak.py [--minutes 60] [--sessions 200] [--write]`` prints a table, and with
``--write`` puts it into docs/performance.md, with a plot beside it. Sessions are short, so that
many come and go: what each leaves behind would show.
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
from conductor import Conductor, conducting
from contenders import CONTENDERS, ROOT
from load import Job, Load
from machine import allow_many_files
from measure import memory_bytes, tree
from session import Session

PAGE, PLOT = ROOT / "docs/performance.md", ROOT / "docs/soak.svg"
PLACE = re.compile(r"(?<=<!-- soak -->\n).*(?=<!-- /soak -->)", re.DOTALL)
MIB = 1024 * 1024

LIFE_SECONDS = 30, 120
"""How long a session talks: at random between these."""

TURN_SECONDS = 2.0
"""As often each session says 100 ms, and is answered: the soak is about memory, not about CPU."""

LOOK_SECONDS = 10.0


@dataclass
class Soak:
    """What was seen.

    Attributes:
        memory_mib: of the relay, each with the minute in which it was read.
    """

    memory_mib: list[tuple[float, float]] = field(default_factory=list)
    sessions: int = 0
    faults: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[str]:
        """Yield a table of the mean of each sixth of the time."""
        minutes = self.memory_mib[-1][0]
        yield "| minutes | memory of the relay, MiB |"
        yield "|---|---|"
        for part in range(6):
            first, last = minutes * part / 6, minutes * (part + 1) / 6
            seen = [mib for minute, mib in self.memory_mib if first <= minute <= last]
            if seen:
                yield f"| {first:.0f} to {last:.0f} | {mean(seen):.1f} |"


async def soak(load: Load, pid: int, minutes: float) -> Soak:
    """Keep as many sessions as the job wants, each for a while, until the time is over."""
    seen, began = Soak(), time.monotonic()
    until = began + 60 * minutes
    lives = random.Random(1)  # noqa: S311  # the same in each run

    async def keep_coming() -> None:
        while time.monotonic() < until:
            if session := await load.connect():
                seen.sessions += 1
                await _talk(session, min(until, time.monotonic() + lives.uniform(*LIFE_SECONDS)))

    async def watch() -> None:
        while (now := time.monotonic()) < until:
            mib = memory_bytes(tree(pid)) / MIB
            seen.memory_mib.append(((now - began) / 60, mib))
            await asyncio.sleep(LOOK_SECONDS)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch())
        for _ in range(load.job.sessions):
            tasks.create_task(keep_coming())
    seen.faults = load.record.faults
    return seen


async def _talk(session: Session, until: float) -> None:
    while time.monotonic() < until:
        session.ask()
        await asyncio.sleep(TURN_SECONDS)
    session.finish()
    await session.finished
    await session.leave(seconds=5)


def plot(points: Sequence[tuple[float, float]]) -> str:
    """Return a line of memory by the minute, from zero, as SVG."""
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


def _run(conductor: Conductor, sessions: int, minutes: float) -> Soak:
    relay = next(contender for contender in CONTENDERS if contender.name == "relay")
    with relay.running(conductor.folder, conductor.upstream(tls=True)) as server:
        # It has time: others shall have the core first.
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

        async def work() -> Soak:
            return await soak(Load(job), server.pid, minutes)

        return uvloop.run(work())


def main() -> int:
    """Soak; return 1 when anything was lost."""
    parser = argparse.ArgumentParser(prog="soak")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    allow_many_files()
    with conducting() as conductor:
        seen = _run(conductor, given.sessions, given.minutes)
    told = "\n".join(seen.rows())
    told += f"\n\n{seen.sessions:,} sessions, {given.sessions} at a time, with TLS to the upstream;"
    told += f" faults: {len(seen.faults)}.\n"
    print(told, *seen.faults[:3], sep="\n")
    if given.write:
        PLOT.write_text(plot(seen.memory_mib))
        shown = f"\n{told}\n![Memory of the relay](soak.svg)\n\n"
        PAGE.write_text(PLACE.sub(lambda _: shown, PAGE.read_text()))
    return 1 if seen.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
