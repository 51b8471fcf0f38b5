"""The tables of all reports: a column for each contender, a row for each metric."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import sub, truediv
from statistics import median

from job import LoadReport
from runner import DIRECT, Results, Workload

Value = float | None
"""None if the metric does not apply."""

ReportsByContender = Mapping[str, Sequence[LoadReport]]


@dataclass(frozen=True)
class Metric:
    """One metric; a cell of the table is the median of all rounds.

    Attributes:
        title: Its name in the table.
        of: Returns its value in one report.
        decimals: The number of decimals in the table.
        base: The contender whose median the others are compared with; empty for none.
        compare: Returns the cell from the median and the median of ``base``.
        only: The only contender that the metric is shown for; empty for all.
    """

    title: str
    of: Callable[[LoadReport, Workload], Value]
    decimals: int = 1
    base: str = ""
    compare: Callable[[float, float], float] = sub
    only: str = ""

    def cell(self, workload: Workload, reports: ReportsByContender, contender: str) -> str:
        """Return the cell of a contender."""
        value, base = (
            self._median(workload, reports.get(name, ())) for name in (contender, self.base)
        )
        if value is None or self.only not in {"", contender}:
            return ""
        if not self.base:
            return f"{value:,.{self.decimals}f}"
        if contender == self.base == DIRECT:
            return f"({value:.{self.decimals}f})"
        return "" if base is None else f"{self.compare(value, base):.{self.decimals}f}"

    def _median(self, workload: Workload, reports: Sequence[LoadReport]) -> Value:
        values = [value for r in reports if (value := self.of(r, workload)) is not None]
        return median(values) if values else None


def _cpu_us(report: LoadReport, _workload: Workload) -> Value:
    used = report.cpu_ns.get("relay")
    return used / report.messages / 1e3 if used and report.messages else None


def _cpu_seconds_per_minute(report: LoadReport, workload: Workload) -> Value:
    used = report.cpu_ns.get("relay")
    return used / 1e9 / workload.sessions / report.seconds * 60 if used else None


def _cpu_ms_per_connection(report: LoadReport, _workload: Workload) -> Value:
    used = report.cpu_ns.get("relay")
    return used / report.connections / 1e6 if used and report.connections else None


def _core_percent(*parts: str) -> Callable[[LoadReport, Workload], Value]:
    def used(report: LoadReport, _workload: Workload) -> Value:
        ns = sum(report.cpu_ns.get(part, 0) for part in parts)
        return ns / 1e7 / report.seconds if ns else None

    return used


def _latency_ms(percent: str) -> Callable[[LoadReport, Workload], Value]:
    return lambda report, _workload: report.latency_ms.get(percent)


def _upgrade_ms(percent: str) -> Callable[[LoadReport, Workload], Value]:
    return lambda report, _workload: report.upgrade_ms.get(percent)


def _memory_kib(report: LoadReport, _workload: Workload) -> Value:
    return report.memory_bytes / 1024 if report.memory_bytes else None


def _messages_per_second(report: LoadReport, _workload: Workload) -> Value:
    return report.messages / report.seconds if report.seconds else None


def _connections_per_second(report: LoadReport, _workload: Workload) -> Value:
    return report.connections / report.seconds if report.seconds else None


def _share_percent(value: float, base: float) -> float:
    return (value - base) / value * 100


def _first_audio_own_ms(report: LoadReport, _workload: Workload) -> Value:
    return report.first_audio_own_ms or None


CPU = Metric("CPU per message, us", _cpu_us)
CPU_RATIO = Metric("CPU per message, times nginx's", _cpu_us, 2, "nginx", truediv)
CPU_RATIO_16K = Metric(
    "CPU per message, times that of nginx with 16 KiB buffers", _cpu_us, 2, "nginx-16k", truediv
)
CPU_OF_RELAYING = Metric(
    "of it policy, metering, ledger, metrics, %", _cpu_us, 0, "bare", _share_percent, only="relay"
)
MEMORY = Metric("memory per session, KiB", _memory_kib, 0)
CORES = (
    Metric("share of its core, %", _core_percent("relay"), 0),
    Metric("load and upstream, share of a core, %", _core_percent("load", "upstream"), 0),
)

LATENCIES = tuple(
    Metric(f"added latency p{percent}, ms", _latency_ms(percent), 2, DIRECT)
    for percent in ("50", "99", "99.9")
)
READY = tuple(
    Metric(f"added until ready p{percent}, ms", _latency_ms(percent), 2, DIRECT)
    for percent in ("50", "99")
)
UPGRADES = tuple(
    Metric(f"added until the 101 p{percent}, ms", _upgrade_ms(percent), 2, DIRECT, only="relay")
    for percent in ("50", "99")
)
CONNECTIONS = Metric("connections per second", _connections_per_second, 0)

METRICS: Mapping[str, tuple[Metric, ...]] = {
    "paced": (
        CPU,
        CPU_RATIO,
        CPU_RATIO_16K,
        CPU_OF_RELAYING,
        Metric("CPU seconds per session-minute", _cpu_seconds_per_minute, 3),
        *LATENCIES,
        Metric("of the first audio, with the relay, mean ms", _first_audio_own_ms, 2),
        MEMORY,
        *CORES,
    ),
    "saturated": (Metric("messages per second", _messages_per_second, 0), CPU, *CORES),
    "idle": (MEMORY,),
    "alone": (
        *READY,
        *UPGRADES,
    ),
    "crowded": (
        CONNECTIONS,
        Metric("CPU per connection, ms", _cpu_ms_per_connection, 2),
        *CORES,
    ),
}

IN_TIME = "sessions in time (added p99 < 5 ms)"
TITLES = {
    "paced": "{} sessions in real time",
    "saturated": "{} sessions, as fast as it goes",
    "idle": "{} sessions, idle",
    "alone": "{} connections, one by one",
    "crowded": "connections, 20 at a time",
}


SUMMARY_SESSIONS = 200
SUMMARY: Mapping[str, tuple[Metric, ...]] = {
    "paced": (CPU_RATIO, CPU_RATIO_16K, CPU_OF_RELAYING, *LATENCIES[:2], MEMORY),
    "alone": (*READY, *UPGRADES),
    "crowded": (CONNECTIONS,),
}
"""The metrics that matter, of the workloads with TLS; of the real-time sessions, one number."""


def summary(results: Results, columns: Mapping[str, str]) -> str:
    """Return the metrics that matter in Markdown; ``columns`` has a heading for each contender."""
    rows = [["", *columns.values()], ["---", *["---:"] * len(columns)]]
    for workload, reports in results.reports.items():
        if not workload.tls or (workload.work == "paced" and workload.sessions != SUMMARY_SESSIONS):
            continue
        for metric in SUMMARY.get(workload.work, ()):
            cells = [metric.cell(workload, reports, name) for name in columns]
            rows.append([metric.title, *cells])
    if results.capacity:
        rows.append([IN_TIME, *(results.capacity.get(name, "") for name in columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def table(results: Results, columns: Mapping[str, str]) -> str:
    """Return the table in Markdown; ``columns`` has a heading for each contender."""
    rows = [["work", "", *columns.values()], ["---", "---", *["---:"] * len(columns)]]
    for workload, reports in results.reports.items():
        rows += _rows(workload, reports, columns)
    started = {name: f"{median(each):.2f}" for name, each in results.start_seconds.items()}
    for *titles, cells in (
        ("real time, TLS", IN_TIME, results.capacity),
        ("start", "seconds until it listens", started),
    ):
        if cells:
            rows.append([*titles, *(cells.get(name, "") for name in columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _rows(
    workload: Workload, reports: ReportsByContender, columns: Mapping[str, str]
) -> Iterator[list[str]]:
    title = TITLES[workload.work].format(f"{workload.sessions:,}")
    title += f", {'TLS' if workload.tls else 'plain'}"
    for metric in METRICS[workload.work]:
        cells = [metric.cell(workload, reports, name) for name in columns]
        if any(cells):
            yield [title, metric.title, *cells]
    faults = [reports.get(name, ()) for name in columns]
    yield [title, "faults", *(str(sum(r.faults for r in each)) if each else "" for each in faults)]
