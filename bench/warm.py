"""Warm connections: the time until the 101 with and without them, and their cost without sessions.

``python bench/warm.py`` prints two tables, for an upstream with TLS. The first compares the time
until the 101 with the time of the upstream alone: clients connect one by one, or several at once.
The second has the CPU time and the memory of a relay that has no session.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median

import uvloop
from contenders import CONTENDERS, Contender
from job import Job, LoadReport
from load_generator import LoadGenerator
from machine import Cores, allow_many_files, pinned
from process_stats import cpu_ns, memory_bytes, tree
from runner import Runner, start_runner

FILL_SECONDS = 1.0
"""The time until the relay has opened its connections."""

LATENCIES = ("50", "99")


@dataclass(frozen=True)
class Pattern:
    """Groups of clients that connect at the same time.

    Attributes:
        clients: The number of clients in a group.
        groups: The number of groups.
        every_seconds: The time between two groups.
    """

    clients: int
    groups: int
    every_seconds: float


PATTERNS = {
    "10 clients a second, one by one": Pattern(clients=1, groups=200, every_seconds=0.1),
    "16 clients at once, every 2 s": Pattern(clients=16, groups=10, every_seconds=2),
}


async def measure(job: Job, pattern: Pattern) -> LoadReport:
    """Connect and leave, one group after the other."""
    load = LoadGenerator(job)
    await load.warm_up()
    await asyncio.sleep(FILL_SECONDS)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(pattern.groups):
            for _ in range(pattern.clients):
                tasks.create_task(load.connect_and_leave())
            await asyncio.sleep(pattern.every_seconds)
    return load.complete_report()


def relay_with(number: int) -> Contender:
    """Return the relay with this number of warm connections."""
    (relay,) = (contender for contender in CONTENDERS if contender.name == "relay")
    text, tls = relay.config
    return replace(relay, config=(text, f"{tls}\n    warm_connections: {number}"))


def run(runner: Runner, number: int | None, pattern: str) -> LoadReport:
    """Run a pattern through a relay; without a number, directly against the upstream."""
    upstream = runner.upstream(tls=True)
    if number is None:
        return _run_load(upstream.port, str(upstream.ca_file), pattern)
    with relay_with(number).running(runner.folder, upstream) as server:
        return _run_load(server.port, None, pattern)


def _run_load(port: int, ca_file: str | None, pattern: str) -> LoadReport:
    job = Job(
        work=pattern,
        port=port,
        ca_file=ca_file,
        configures=ca_file is not None,
        sessions=0,
        seconds=0,
        pids={},
    )
    command = [sys.executable, __file__, "--job", json.dumps(asdict(job))]
    with pinned(Cores.available().load):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    printed, _ = process.communicate()
    return LoadReport(**json.loads(printed))


def compare(runner: Runner, numbers: Sequence[int], rounds: int) -> None:
    """Print the time until the 101 beyond that of the upstream alone, in each round."""
    for pattern in PATTERNS:
        print(f"\n{pattern}: ms until the 101, beyond the upstream alone")
        added: dict[tuple[int, str], list[float]] = {}
        for _ in range(rounds):
            base = run(runner, None, pattern).upgrade_ms
            print("upstream alone:", *(f"p{p} {base[p]:.2f}" for p in LATENCIES))
            for number in numbers:
                report = run(runner, number, pattern)
                print(f"{number} warm: faults {report.faults} {report.first_fault}")
                for p in LATENCIES:
                    added.setdefault((number, p), []).append(report.upgrade_ms[p] - base[p])
        for (number, p), values in added.items():
            shown = ", ".join(f"{value:+.2f}" for value in values)
            print(f"{number} warm: p{p} {median(values):+.2f} ({shown})")


async def measure_idle(runner: Runner, numbers: Sequence[int], seconds: float) -> None:
    """Print the CPU time and the memory of a relay without sessions."""
    print(f"\nwithout sessions, for {seconds:g} s")
    for number in numbers:
        with relay_with(number).running(runner.folder, runner.upstream(tls=True)) as server:
            pids = tree(server.pid)
            await asyncio.sleep(FILL_SECONDS)
            used = cpu_ns(pids)
            await asyncio.sleep(seconds)
            cpu_ms = (cpu_ns(pids) - used) / 1e6 / seconds * 60
            memory_kib = memory_bytes(pids) / 1024
        print(f"{number} warm: {cpu_ms:.0f} ms CPU a minute, {memory_kib:.0f} KiB")


def main() -> None:
    """Run the measurements, or the load of one."""
    parser = argparse.ArgumentParser(prog="warm", description=__doc__)
    parser.add_argument("--warm", type=int, nargs="+", default=[0, 4, 16])
    parser.add_argument("--idle", type=int, nargs="+", default=[0, 16, 100])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--idle-seconds", type=float, default=60)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        job = Job(**json.loads(given.job))
        print(json.dumps(asdict(uvloop.run(measure(job, PATTERNS[job.work])))))
        return
    allow_many_files()
    with start_runner() as runner:
        compare(runner, given.warm, given.rounds)
        asyncio.run(measure_idle(runner, given.idle, given.idle_seconds))


if __name__ == "__main__":
    main()
