"""What the kernel knows of processes, and what is made of many numbers."""

import math
from collections.abc import Sequence
from pathlib import Path


def tree(pid: int) -> list[int]:
    """Return a process and all that come from it."""
    pids = [pid]
    for parent in pids:
        for task in Path(f"/proc/{parent}/task").iterdir():
            pids += map(int, (task / "children").read_text().split())
    return pids


def cpu_ns(pids: Sequence[int]) -> int:
    """Return how long all threads of these processes were on a CPU, kernel time included."""
    return sum(
        int((task / "schedstat").read_text().split()[0])
        for pid in pids
        for task in Path(f"/proc/{pid}/task").iterdir()
    )


def memory_bytes(pids: Sequence[int]) -> int:
    """Return the memory of these processes, of what they share their share (PSS)."""
    return sum(_pss_kib(pid) for pid in pids) * 1024


def _pss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of numbers in their order, as one of them (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
