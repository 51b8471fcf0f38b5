"""The benchmarks: ``make bench``, or ``python bench``; docs/performance.md says how to read them.

Every contender does the same work in every round, one after the other, so that what disturbs the
machine disturbs them all. The medians of the rounds are printed as one table.
"""

import argparse
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product

from conductor import DIRECT, Conductor, Run, conducting
from contenders import CONTENDERS, ROOT, Contender
from load import Report
from machine import Cores, allow_many_files, has_realtime
from ramp import capacities
from table import MEASURES, table

PAGE = ROOT / "docs/performance.md"
PLACE = re.compile(r"(?<=<!-- bench -->\n).*(?=<!-- /bench -->)", re.DOTALL)
NAMES = [contender.name for contender in CONTENDERS]
WORK = (*MEASURES, "ramp")
SIZES = ("sessions", "seconds", "rounds", "work")
LIBRARIES = ("aiohttp", "uvloop", "aiofastnet", "msgspec", "pybase64", "picows")

PLAIN_SESSIONS = 200
"""Without TLS this load says enough."""

SATURATING_SESSIONS = 20
SHORT_SECONDS = 3


@dataclass(frozen=True)
class Size:
    """How much is done of each work."""

    sessions: list[int]
    seconds: float
    rounds: int
    idle_sessions: int
    connections: int
    work: Sequence[str] = WORK


FULL = Size([50, 200, 400], seconds=4, rounds=3, idle_sessions=1000, connections=200)
QUICK = Size([50], seconds=2, rounds=1, idle_sessions=100, connections=30, work=tuple(MEASURES))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; return 1 when the relay lost, swapped or changed anything."""
    given = _parser().parse_args(arguments)
    size = QUICK if given.quick else FULL
    chosen = {key: value for key in SIZES if (value := getattr(given, key)) is not None}
    size = replace(size, **chosen)
    allow_many_files()
    contenders = [c for c in CONTENDERS if not given.only or c.name in given.only]
    versions = {c.name: c.version for c in contenders}
    with conducting() as conductor:
        present = [c for c in contenders if versions[c.name]]
        _perform(conductor, size, _plan(size, given.protocol), present)
        results = conductor.results
    columns = {name: f"{name} {number}" for name, number in versions.items() if number}
    missing = [name for name, number in versions.items() if not number]
    told = f"{_conditions(size, missing)}\n\n{table(results, {DIRECT: DIRECT} | columns)}\n"
    print(told)
    if given.write:
        PAGE.write_text(PLACE.sub(lambda _: f"\n{told}\n", PAGE.read_text()))
    ours = (r for reports in results.reports.values() for r in reports.get("relay", ()))
    return 1 if any(report.faults for report in ours) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="The benchmarks, one table.")
    parser.add_argument("--sessions", type=_numbers, metavar="N,N", help="that speak in real time")
    parser.add_argument("--seconds", type=float, help="that each run is measured")
    parser.add_argument("--rounds", type=int, help="of which the medians are shown")
    parser.add_argument(
        "--only", type=_some_of(NAMES), metavar="A,B", help=f"of {', '.join(NAMES)}"
    )
    parser.add_argument("--work", type=_some_of(WORK), metavar="A,B", help=f"of {', '.join(WORK)}")
    parser.add_argument("--quick", action="store_true", help="little of everything, no ramp")
    parser.add_argument("--write", action="store_true", help=f"the table into {PAGE.name}")
    upstream = parser.add_mutually_exclusive_group()
    upstream.add_argument("--tls", dest="protocol", action="store_const", const="tls")
    upstream.add_argument("--plain", dest="protocol", action="store_const", const="plain")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _some_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what reads names of these, in any case."""
    names = {name.lower(): name for name in known}

    def read(text: str) -> list[str]:
        if unknown := set(text.lower().split(",")) - names.keys():
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not of {set(names)}")
        return [names[name] for name in text.lower().split(",")]

    return read


def _plan(size: Size, protocol: str | None) -> Iterator[Run]:
    """Yield what is to be done; if nothing is said of TLS, a little without it."""
    tls = protocol != "plain"
    shorter = min(size.seconds, SHORT_SECONDS)
    yield from (Run("paced", n, size.seconds, tls) for n in size.sessions)
    if protocol is None and PLAIN_SESSIONS in size.sessions:
        yield Run("paced", PLAIN_SESSIONS, size.seconds, tls=False)
    yield Run("saturated", SATURATING_SESSIONS, shorter, tls)
    yield Run("idle", size.idle_sessions, shorter, tls)
    yield Run("alone", size.connections, shorter, tls)
    yield Run("crowded", 0, shorter, tls)


def _perform(
    conductor: Conductor, size: Size, plan: Iterable[Run], contenders: Sequence[Contender]
) -> None:
    for run in plan:
        if run.work not in size.work:
            continue
        rounds = 1 if run.work == "idle" else size.rounds  # memory hardly varies
        for _, contender in product(range(rounds), (None, *contenders)):
            report = conductor.perform(run, contender)
            name = contender.name if contender else DIRECT
            conductor.results.add(run, name, report)
            _tell(run, name, report)
    if "ramp" in size.work:
        conductor.results.capacity = capacities(conductor, contenders)


def _tell(run: Run, name: str, report: Report) -> None:
    """Show that something happens, and at once what went wrong."""
    relay_us = report.cpu_ns.get("relay", 0) / 1e3 / max(report.messages, 1)
    print(
        f"{run.work} {run.sessions} {'TLS' if run.tls else 'plain'} {name}:"
        f" {relay_us:.1f} us, p99 {report.latency_ms.get('99', 0):.2f} ms,"
        f" faults {report.faults} {report.first_fault}",
        file=sys.stderr,
    )


def _conditions(size: Size, missing: Sequence[str]) -> str:
    """Return where and with what it was measured."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    kernel, _, _ = platform.release().partition("-")
    cores = Cores.available()
    shared = "together on another" if cores.upstream == cores.load else "on one each"
    scheduled = "in real time" if has_realtime() else "like everything else"
    told = [
        f"{size.rounds} rounds of {size.seconds:g} s on {datetime.now(UTC):%Y-%m-%d}.",
        f"Linux {kernel}, {platform.machine()}.",
        f"The relay on one core, the upstream and the load {shared}; scheduled {scheduled}.",
        f"Python {platform.python_version()}, {libraries}.",
    ]
    if missing:
        told.append(f"Not installed here: {', '.join(missing)}.")
    return "\n".join(told)


if __name__ == "__main__":
    sys.exit(main())
