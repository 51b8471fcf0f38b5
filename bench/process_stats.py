"""The kernel's counters of processes, and percentiles."""

import math
from collections.abc import Sequence
from pathlib import Path


def tree(pid: int) -> list[int]:
    """Return the ids of a process and of all its descendants."""
    pids = [pid]
    for parent in pids:
        for task in Path(f"/proc/{parent}/task").iterdir():
            pids += map(int, (task / "children").read_text().split())
    return pids


def cpu_ns(pids: Sequence[int]) -> int:
    """Return the CPU time of all threads of these processes, kernel time included."""
    return sum(
        int((task / "schedstat").read_text().split()[0])
        for pid in pids
        for task in Path(f"/proc/{pid}/task").iterdir()
    )


def memory_bytes(pids: Sequence[int]) -> int:
    """Return the memory of these processes; shared memory is counted by share (PSS)."""
    return sum(_pss_kib(pid) for pid in pids) * 1024


def _pss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of sorted numbers by the nearest-rank method."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
