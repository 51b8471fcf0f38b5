"""Makes of all reports one table: a column for each contender, a row for each thing measured."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import sub, truediv
from statistics import median

from conductor import DIRECT, Results, Run
from load import Report

Value = float | None
"""None: it does not apply."""

Reports = Mapping[str, Sequence[Report]]


@dataclass(frozen=True)
class Measure:
    """One thing that is measured; the cell is the median of all rounds.

    Attributes:
        base: the contender with whose median the others are compared, by ``compare``.
        only: the contender for which it means something; empty for all.
    """

    title: str
    of: Callable[[Report, Run], Value]
    decimals: int = 1
    base: str = ""
    compare: Callable[[float, float], float] = sub
    only: str = ""

    def cell(self, run: Run, reports: Reports, contender: str) -> str:
        """Return what stands in the table for a contender."""
        value, base = (self._median(run, reports.get(name, ())) for name in (contender, self.base))
        if value is None or self.only not in {"", contender}:
            return ""
        if not self.base:
            return f"{value:,.{self.decimals}f}"
        if contender == self.base == DIRECT:
            return f"({value:.{self.decimals}f})"
        return "" if base is None else f"{self.compare(value, base):.{self.decimals}f}"

    def _median(self, run: Run, reports: Sequence[Report]) -> Value:
        values = [value for r in reports if (value := self.of(r, run)) is not None]
        return median(values) if values else None


def _cpu_us(report: Report, _run: Run) -> Value:
    used = report.cpu_ns.get("relay")
    return used / report.messages / 1e3 if used and report.messages else None


def _cpu_seconds_per_minute(report: Report, run: Run) -> Value:
    used = report.cpu_ns.get("relay")
    return used / 1e9 / run.sessions / report.seconds * 60 if used else None


def _cpu_ms_per_connection(report: Report, _run: Run) -> Value:
    used = report.cpu_ns.get("relay")
    return used / report.connections / 1e6 if used and report.connections else None


def _core_percent(*parts: str) -> Callable[[Report, Run], Value]:
    def used(report: Report, _run: Run) -> Value:
        ns = sum(report.cpu_ns.get(part, 0) for part in parts)
        return ns / 1e7 / report.seconds if ns else None

    return used


def _latency_ms(percent: str) -> Callable[[Report, Run], Value]:
    return lambda report, _run: report.latency_ms.get(percent)


def _upgrade_ms(percent: str) -> Callable[[Report, Run], Value]:
    return lambda report, _run: report.upgrade_ms.get(percent)


def _memory_kib(report: Report, _run: Run) -> Value:
    return report.memory_bytes / 1024 if report.memory_bytes else None


def _messages_per_second(report: Report, _run: Run) -> Value:
    return report.messages / report.seconds if report.seconds else None


def _connections_per_second(report: Report, _run: Run) -> Value:
    return report.connections / report.seconds if report.seconds else None


def _share_percent(value: float, base: float) -> float:
    return (value - base) / value * 100


def _first_audio_own_ms(report: Report, _run: Run) -> Value:
    return report.first_audio_own_ms or None


CPU = Measure("CPU per message, us", _cpu_us)
CPU_RATIO = Measure("CPU per message, times nginx's", _cpu_us, 2, "nginx", truediv)
CPU_OF_RELAYING = Measure(
    "of it policy, metering, ledger, metrics, %", _cpu_us, 0, "bare", _share_percent, only="relay"
)
MEMORY = Measure("memory per session, KiB", _memory_kib, 0)
CORES = (
    Measure("share of its core, %", _core_percent("relay"), 0),
    Measure("load and upstream, share of a core, %", _core_percent("load", "upstream"), 0),
)

MEASURES: Mapping[str, tuple[Measure, ...]] = {
    "paced": (
        CPU,
        CPU_RATIO,
        CPU_OF_RELAYING,
        Measure("CPU seconds per session-minute", _cpu_seconds_per_minute, 3),
        *(
            Measure(f"added latency p{percent}, ms", _latency_ms(percent), 2, DIRECT)
            for percent in ("50", "99", "99.9")
        ),
        Measure("of the first audio, with the relay, mean ms", _first_audio_own_ms, 2),
        MEMORY,
        *CORES,
    ),
    "saturated": (Measure("messages per second", _messages_per_second, 0), CPU, *CORES),
    "idle": (MEMORY,),
    "alone": (
        *(
            Measure(f"added until ready p{percent}, ms", _latency_ms(percent), 2, DIRECT)
            for percent in ("50", "99")
        ),
        *(
            Measure(
                f"added until the 101 p{percent}, ms", _upgrade_ms(percent), 2, DIRECT, only="relay"
            )
            for percent in ("50", "99")
        ),
    ),
    "crowded": (
        Measure("connections per second", _connections_per_second, 0),
        Measure("CPU per connection, ms", _cpu_ms_per_connection, 2),
        *CORES,
    ),
}

TITLES = {
    "paced": "{} sessions in real time",
    "saturated": "{} sessions, as fast as it goes",
    "idle": "{} sessions, idle",
    "alone": "{} connections, one by one",
    "crowded": "connections, 20 at a time",
}


def table(results: Results, columns: Mapping[str, str]) -> str:
    """Return everything as Markdown; ``columns`` has a heading for each contender."""
    rows = [["work", "", *columns.values()], ["---", "---", *["---:"] * len(columns)]]
    for run, reports in results.reports.items():
        rows += _rows(run, reports, columns)
    started = {name: f"{median(each):.2f}" for name, each in results.start_seconds.items()}
    for *titles, cells in (
        ("real time, TLS", "sessions in time (added p99 < 5 ms)", results.capacity),
        ("start", "seconds until it listens", started),
    ):
        if cells:
            rows.append([*titles, *(cells.get(name, "") for name in columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _rows(run: Run, reports: Reports, columns: Mapping[str, str]) -> Iterator[list[str]]:
    title = f"{TITLES[run.work].format(f'{run.sessions:,}')}, {'TLS' if run.tls else 'plain'}"
    for measure in MEASURES[run.work]:
        cells = [measure.cell(run, reports, name) for name in columns]
        if any(cells):
            yield [title, measure.title, *cells]
    faults = [reports.get(name, ()) for name in columns]
    yield [title, "faults", *(str(sum(r.faults for r in each)) if each else "" for each in faults)]
