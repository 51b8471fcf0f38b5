"""The benchmarks: ``make bench``, or ``python bench``; docs/performance.md explains the results.

In each round all contenders do the same work, one after the other, so that a disturbance of the
machine affects all of them. The output is two tables with the medians of the rounds: all
metrics, and those that matter.
``python bench/warm.py`` measures connections that the relay opens in advance.
"""

import argparse
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product

import instructions
from contenders import CONTENDERS, ROOT, Contender
from job import LoadReport
from machine import Cores, allow_many_files, has_realtime
from ramp import capacities
from runner import DIRECT, Runner, Workload, start_runner
from table import METRICS, summary, table

PAGE, TABLES = ROOT / "docs/performance.md", ROOT / "docs/performance-tables.md"
BEGIN, END = "<!-- bench -->\n", "<!-- /bench -->"
NAMES = [contender.name for contender in CONTENDERS]
WORK = (*METRICS, "ramp")
SIZES = ("sessions", "seconds", "rounds", "work")
LIBRARIES = ("aiohttp", "uvloop", "aiofastnet", "msgspec", "pybase64", "picows")

PLAIN_SESSIONS = 200
"""Without TLS, one number of sessions is enough."""

SATURATING_SESSIONS = 20
SHORT_SECONDS = 3


@dataclass(frozen=True)
class Size:
    """The amount of work.

    Attributes:
        sessions: The numbers of sessions that send in real time.
        seconds: The duration of each run.
        rounds: The number of rounds; the table shows medians.
        idle_sessions: The number of idle sessions.
        connections: The number of connections that are opened one by one.
        work: Names of workloads.
    """

    sessions: list[int]
    seconds: float
    rounds: int
    idle_sessions: int
    connections: int
    work: Sequence[str] = WORK


FULL = Size([50, 200, 400], seconds=4, rounds=3, idle_sessions=1000, connections=200)
QUICK = Size([50], seconds=2, rounds=1, idle_sessions=100, connections=30, work=tuple(METRICS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; return 1 if the relay lost, reordered or changed a message."""
    given = _parser().parse_args(arguments)
    if given.instructions:
        return instructions.main()
    size = QUICK if given.quick else FULL
    chosen = {key: value for key in SIZES if (value := getattr(given, key)) is not None}
    size = replace(size, **chosen)
    allow_many_files()
    contenders = [c for c in CONTENDERS if not given.only or c.name in given.only]
    versions = {c.name: c.version for c in contenders}
    with start_runner() as runner:
        present = [c for c in contenders if versions[c.name]]
        _run(runner, size, _workloads(size, given.protocol), present)
        results = runner.results
    columns = {DIRECT: DIRECT} | {c.name: f"{c.name} {versions[c.name]}" for c in present}
    missing = [name for name, number in versions.items() if not number]
    conditions = _conditions(size, missing)
    for page, rows in ((TABLES, table(results, columns)), (PAGE, summary(results, columns))):
        section = f"{conditions}\n\n{rows}\n"
        print(section)
        if given.write:
            before, _, rest = page.read_text().partition(BEGIN)
            page.write_text(f"{before}{BEGIN}\n{section}\n{END}{rest.partition(END)[2]}")
    own = (r for reports in results.reports.values() for r in reports.get("relay", ()))
    return 1 if any(report.faults for report in own) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="The benchmarks, two tables.")
    parser.add_argument(
        "--sessions", type=_numbers, metavar="N,N", help="sessions that send in real time"
    )
    parser.add_argument("--seconds", type=float, help="duration of each run")
    parser.add_argument("--rounds", type=int, help="rounds; the table shows medians")
    parser.add_argument(
        "--only", type=_some_of(NAMES), metavar="A,B", help=f"contenders, of {', '.join(NAMES)}"
    )
    parser.add_argument(
        "--work", type=_some_of(WORK), metavar="A,B", help=f"workloads, of {', '.join(WORK)}"
    )
    parser.add_argument("--quick", action="store_true", help="a little of each workload, no ramp")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/")
    parser.add_argument(
        "--instructions", action="store_true", help="only the instructions of a message"
    )
    upstream = parser.add_mutually_exclusive_group()
    upstream.add_argument("--tls", dest="protocol", action="store_const", const="tls")
    upstream.add_argument("--plain", dest="protocol", action="store_const", const="plain")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _some_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Return a parser for a list of these names, in upper or lower case."""
    names = {name.lower(): name for name in known}

    def read(text: str) -> list[str]:
        if unknown := set(text.lower().split(",")) - names.keys():
            raise argparse.ArgumentTypeError(
                f"{', '.join(sorted(unknown))}: unknown, expected some of {sorted(names)}"
            )
        return [names[name] for name in text.lower().split(",")]

    return read


def _workloads(size: Size, protocol: str | None) -> Iterator[Workload]:
    """Yield the workloads; without a protocol, all with TLS and one also without."""
    tls = protocol != "plain"
    shorter = min(size.seconds, SHORT_SECONDS)
    yield from (Workload("paced", n, size.seconds, tls) for n in size.sessions)
    if protocol is None and PLAIN_SESSIONS in size.sessions:
        yield Workload("paced", PLAIN_SESSIONS, size.seconds, tls=False)
    yield Workload("saturated", SATURATING_SESSIONS, shorter, tls)
    yield Workload("idle", size.idle_sessions, shorter, tls)
    yield Workload("alone", size.connections, shorter, tls)
    yield Workload("crowded", 0, shorter, tls)


def _run(
    runner: Runner, size: Size, workloads: Iterable[Workload], contenders: Sequence[Contender]
) -> None:
    for workload in workloads:
        if workload.work not in size.work:
            continue
        rounds = 1 if workload.work == "idle" else size.rounds  # memory hardly varies
        for _, contender in product(range(rounds), (None, *contenders)):
            report = runner.run(workload, contender)
            name = contender.name if contender else DIRECT
            runner.results.add(workload, name, report)
            _print_progress(workload, name, report)
    if "ramp" in size.work:
        runner.results.capacity = capacities(runner, contenders)


def _print_progress(workload: Workload, name: str, report: LoadReport) -> None:
    """Print one line for a run, with its faults."""
    relay_us = report.cpu_ns.get("relay", 0) / 1e3 / max(report.messages, 1)
    print(
        f"{workload.work} {workload.sessions} {'TLS' if workload.tls else 'plain'} {name}:"
        f" {relay_us:.1f} us, p99 {report.latency_ms.get('99', 0):.2f} ms,"
        f" faults {report.faults} {report.first_fault}",
        file=sys.stderr,
    )


def _conditions(size: Size, missing: Sequence[str]) -> str:
    """Return the machine, the versions and the date of the measurement."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    kernel, _, _ = platform.release().partition("-")
    cores = Cores.available()
    shared = "share another" if cores.upstream == cores.load else "have one each"
    scheduling = "real-time" if has_realtime() else "normal"
    lines = [
        f"{size.rounds} rounds of {size.seconds:g} s on {datetime.now(UTC):%Y-%m-%d}.",
        f"Linux {kernel}, {platform.machine()}.",
        f"The relay has one core, the upstream and the load {shared}; {scheduling} scheduling.",
        f"Python {platform.python_version()}, {libraries}.",
    ]
    if missing:
        lines.append(f"Not installed here: {', '.join(missing)}.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
