"""Explains the slowest messages under load: ``python bench/tail.py``.

One table has the causes that keep the event loop from the next message: how often, for how long,
and for which share of the time. The other one has the latency with each of them switched off. The
variants take turns, so that a disturbance of the machine affects all of them.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median

import events
from contenders import CONTENDERS, HERE, Contender
from job import LoadReport
from machine import allow_many_files
from observed import COLLECTOR, EVENTS, LEDGER, TIMERS, Spans
from process_stats import percentile
from runner import DIRECT, Runner, Workload, start_runner

AS_IT_IS = "the relay as it is"
OFF: Mapping[str, Sequence[str]] = {
    AS_IT_IS: (),
    "without the garbage collector": (COLLECTOR,),
    "without SQLite in the ledger's thread": (LEDGER,),
    "without responses that begin and end": (EVENTS,),
    "without all three": (COLLECTOR, LEDGER, EVENTS),
}
"""The causes that are switched off, by the name of the variant."""

BESIDE = ("nginx", "bare")


@dataclass
class Tail:
    """The latencies by variant, and the spans of each cause in the relay as it is."""

    reports: defaultdict[str, list[LoadReport]] = field(default_factory=lambda: defaultdict(list))
    spans: list[Mapping[str, Spans]] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="tail", description=__doc__)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    allow_many_files()
    tail, workload = Tail(), Workload("paced", given.sessions, given.seconds)
    with start_runner() as talking, _silence(), start_runner() as silent:
        for _ in range(given.rounds):
            _run_round(tail, workload, talking, silent)
    print("\n".join([*cause_rows(tail.spans, given.seconds), "", *latency_rows(tail.reports)]))
    return 0


def _run_round(tail: Tail, workload: Workload, talking: Runner, silent: Runner) -> None:
    (relay,) = (contender for contender in CONTENDERS if contender.name == "relay")
    os.environ.pop(events.SILENT, None)
    tail.reports[DIRECT].append(talking.run(workload, None))
    for contender in CONTENDERS:
        if contender.name in BESIDE and contender.version:
            tail.reports[contender.name].append(talking.run(workload, contender))
    for name, off in OFF.items():
        file = talking.folder / "observed.json"
        with _silence() if EVENTS in off else nullcontext():
            runner = silent if EVENTS in off else talking
            tail.reports[name].append(runner.run(workload, _observed(relay, file, off)))
        if name == AS_IT_IS:
            tail.spans.append(_in_window(json.loads(file.read_text()), workload.seconds))


@contextmanager
def _silence() -> Iterator[None]:
    """Start processes whose responses do not end, until the end of the block."""
    os.environ[events.SILENT] = "1"
    try:
        yield
    finally:
        os.environ.pop(events.SILENT, None)


def _observed(relay: Contender, report: Path, off: Sequence[str]) -> Contender:
    program = str(HERE / "observed.py")
    arguments = (program, str(report), ",".join(off), *relay.arguments[2:])
    return replace(relay, arguments=arguments)


def _in_window(spans: Mapping[str, Spans], seconds: float) -> Mapping[str, Spans]:
    """Return the spans of the last seconds in which responses ended."""
    until = max(at for at, _ in spans[EVENTS])
    return {
        cause: [(at, length) for at, length in found if until - seconds < at <= until]
        for cause, found in spans.items()
    }


def cause_rows(rounds: Sequence[Mapping[str, Spans]], seconds: float) -> Iterator[str]:
    """Yield the rows of a table: each cause, with all its spans of all rounds."""
    yield "| cause | times a second | mean ms | p99 ms | longest ms | share of the time, % |"
    yield "|---|---:|---:|---:|---:|---:|"
    for cause in (COLLECTOR, LEDGER, EVENTS, TIMERS):
        lengths = sorted(length for spans in rounds for _, length in spans.get(cause, ()))
        total_seconds = seconds * len(rounds)
        if not lengths:
            yield f"| {cause} | 0 | | | | 0.0 |"
            continue
        share = "" if cause == TIMERS else f"{100 * sum(lengths) / total_seconds:.1f}"
        figures = (fmean(lengths), percentile(lengths, 99), lengths[-1])
        cells = [f"{len(lengths) / total_seconds:.0f}", *(f"{1000 * n:.2f}" for n in figures)]
        yield f"| {' | '.join([cause, *cells, share])} |"


def latency_rows(reports: Mapping[str, Sequence[LoadReport]]) -> Iterator[str]:
    """Yield the rows of a table: the latency that each variant adds, and its CPU."""
    yield "| added latency, ms | p50 | p99 | p99.9 | CPU per message, us |"
    yield "|---|---:|---:|---:|---:|"
    base = _latencies(reports[DIRECT])
    yield f"| {DIRECT} (absolute) | {' | '.join(f'{ms:.2f}' for ms in base)} | |"
    for name, each in reports.items():
        if name == DIRECT:
            continue
        added = [ms - without for ms, without in zip(_latencies(each), base, strict=True)]
        cpu_us = median(r.cpu_ns["relay"] / max(r.messages, 1) / 1e3 for r in each)
        yield f"| {name} | {' | '.join(f'{ms:.2f}' for ms in added)} | {cpu_us:.1f} |"


def _latencies(reports: Sequence[LoadReport]) -> list[float]:
    """Return the medians of the percentiles."""
    return [median(r.latency_ms[percent] for r in reports) for percent in ("50", "99", "99.9")]


if __name__ == "__main__":
    sys.exit(main())
