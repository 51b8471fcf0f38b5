"""Finds the number of sessions that a contender carries in time on its core."""

from collections.abc import Iterable, Iterator, Mapping

from contenders import Contender
from job import LoadReport
from runner import Runner, Workload

STEPS = (100, 200, 300, 400, 500, 600)
STEP_SECONDS = 3.0
IN_TIME_MS = 5.0
"""The latency that it may add at p99."""

ATTEMPTS = 3
"""Attempts for each step: other programs on the machine can only increase the latency."""

FULL_PERCENT = 90
"""Above this usage of its own core, the benchmark measures itself."""


def capacities(runner: Runner, contenders: Iterable[Contender]) -> Mapping[str, str]:
    """Return as text the number of sessions of each contender, with TLS to the upstream."""
    direct = {
        step: runner.run(Workload("paced", step, STEP_SECONDS, tls=False), None) for step in STEPS
    }
    return {c.name: _capacity(runner, c, direct) for c in contenders}


def _capacity(runner: Runner, contender: Contender, direct: Mapping[int, LoadReport]) -> str:
    carried = 0
    for step, without in direct.items():
        late = list(_late(runner, contender, step, without))
        if len(late) == ATTEMPTS:
            return f">= {carried}" if any(map(_is_full, late)) else str(carried)
        carried = step
    return f">= {carried}"


def _late(
    runner: Runner, contender: Contender, sessions: int, direct: LoadReport
) -> Iterator[LoadReport]:
    """Yield the attempts that were too late, until one is in time."""
    for _ in range(ATTEMPTS):
        report = runner.run(Workload("paced", sessions, STEP_SECONDS), contender)
        if _is_in_time(report, direct):
            return
        yield report


def _is_in_time(report: LoadReport, direct: LoadReport) -> bool:
    if report.faults or direct.faults:
        return False
    return report.latency_ms["99"] - direct.latency_ms["99"] < IN_TIME_MS


def _is_full(report: LoadReport) -> bool:
    used_ns = report.cpu_ns.get("load", 0) + report.cpu_ns.get("upstream", 0)
    return used_ns > FULL_PERCENT * 1e7 * report.seconds
