"""Looks for how many sessions a contender carries in time on its core."""

from collections.abc import Iterable, Iterator, Mapping

from conductor import Conductor, Run
from contenders import Contender
from load import Report

STEPS = (100, 200, 300, 400, 500, 600)
STEP_SECONDS = 3.0
IN_TIME_MS = 5.0
"""What it may add at p99."""

TRIES = 3
"""How often each is tried: who else uses the machine can only make it later."""

FULL_PERCENT = 90
"""When its own core is as full as this, the bench measures itself."""


def capacities(conductor: Conductor, contenders: Iterable[Contender]) -> Mapping[str, str]:
    """Return in words how many sessions each contender carries, with TLS to the upstream."""
    without = {
        step: conductor.perform(Run("paced", step, STEP_SECONDS, tls=False), None) for step in STEPS
    }
    return {c.name: _capacity(conductor, c, without) for c in contenders}


def _capacity(conductor: Conductor, contender: Contender, without: Mapping[int, Report]) -> str:
    held = 0
    for step, direct in without.items():
        late = list(_late(conductor, contender, step, direct))
        if len(late) == TRIES:
            return f">= {held}" if any(map(_is_full, late)) else str(held)
        held = step
    return f">= {held}"


def _late(
    conductor: Conductor, contender: Contender, sessions: int, direct: Report
) -> Iterator[Report]:
    """Yield the tries that were too late, until one is in time."""
    for _ in range(TRIES):
        report = conductor.perform(Run("paced", sessions, STEP_SECONDS), contender)
        if _is_in_time(report, direct):
            return
        yield report


def _is_in_time(report: Report, direct: Report) -> bool:
    if report.faults or direct.faults:
        return False
    return report.latency_ms["99"] - direct.latency_ms["99"] < IN_TIME_MS


def _is_full(report: Report) -> bool:
    used_ns = report.cpu_ns.get("load", 0) + report.cpu_ns.get("upstream", 0)
    return used_ns > FULL_PERCENT * 1e7 * report.seconds
