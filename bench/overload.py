"""Offers more sessions than a core carries: ``python bench/overload.py``.

A relay with ``limits.max_lag_ms`` refuses the sessions that it cannot carry in time; without it,
all sessions are late. Other processes take a part of the core of the relay, or the load, which
needs a core too, would be the limit.
"""

import argparse
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from contenders import CONTENDERS
from machine import Cores, allow_many_files
from runner import Runner, Workload, start_runner

SETTINGS = ("100", "null")
"""The values of ``limits.max_lag_ms`` that are compared."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each offer and each setting."""
    parser = argparse.ArgumentParser(prog="overload", description=__doc__)
    parser.add_argument("--sessions", default="50,100,150,450", help="numbers of sessions offered")
    parser.add_argument("--seconds", type=float, default=5, help="duration of each measurement")
    parser.add_argument("--busy", type=int, default=2, help="other processes on the relay's core")
    given = parser.parse_args(arguments)
    allow_many_files()
    print("| max_lag_ms | offered | admitted | refused | p50 ms | p99 ms | load average |")
    print("|---|---|---|---|---|---|---|")
    with busy_core(given.busy), start_runner() as runner:
        for sessions in map(int, given.sessions.split(",")):
            for setting in SETTINGS:
                print(_row(runner, sessions, given.seconds, setting), flush=True)


def _row(runner: Runner, sessions: int, seconds: float, max_lag_ms: str) -> str:
    (relay,) = (contender for contender in CONTENDERS if contender.name == "relay")
    text, tls = relay.config
    limited = text.replace("limits: {{", f"limits: {{{{max_lag_ms: {max_lag_ms}, ")
    # Real-time scheduling would leave nothing to the other processes.
    arguments = ("--other", "0", relay.program, *relay.arguments)
    contender = replace(relay, program="chrt", arguments=arguments, config=(limited, tls))
    report = runner.run(Workload("offered", sessions, seconds), contender)
    latency = [f"{report.latency_ms.get(p, float('nan')):.1f}" for p in ("50", "99")]
    load = f"{os.getloadavg()[0]:.1f}"
    counts = [str(sessions), str(report.connections), str(report.refused)]
    return f"| {' | '.join([max_lag_ms, *counts, *latency, load])} |"


@contextmanager
def busy_core(processes: int) -> Iterator[None]:
    """Share the core of the relay with processes that always compute."""
    running = [multiprocessing.Process(target=_compute, daemon=True) for _ in range(processes)]
    for process in running:
        process.start()
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.join()


def _compute() -> None:
    os.sched_setaffinity(0, {Cores.available().relay})
    while True:
        pass


if __name__ == "__main__":
    main()
