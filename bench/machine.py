"""The cores of the machine, and the server processes that run on them."""

import os
import resource
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from process_stats import tree

HOST = "127.0.0.1"
PRIORITY = 10
FILES = 20_000
"""A relay with a thousand sessions has two thousand sockets."""

PROBE_SECONDS = 0.01
START_SECONDS = 120
STOP_SECONDS = 15


class DidNotStart(Exception):
    """A process ended, or took too long, before it listened."""


@dataclass(frozen=True)
class Cores:
    """The core of each process; with two cores, the upstream and the load share one."""

    relay: int
    upstream: int
    load: int

    @classmethod
    def available(cls) -> "Cores":
        """Return the first cores that this process may use."""
        cores = sorted(os.sched_getaffinity(0))
        last = len(cores) - 1
        return cls(cores[0], cores[min(1, last)], cores[min(2, last)])


@dataclass(frozen=True)
class ServerProcess:
    """A process that listens; ``start_seconds`` is the time from its start until it listened."""

    pid: int
    port: int
    start_seconds: float


def allow_many_files() -> None:
    """Raise the limit of open files for this process and its children, as far as allowed."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def has_realtime() -> bool:
    """Return whether this process may use real-time scheduling."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    except PermissionError:
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Start child processes on this core only, with real-time scheduling if it is allowed."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """Return a free port."""
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def serving(
    command: Sequence[str],
    port: int,
    log: Path,
    core: int,
    environment: Mapping[str, str] | None = None,
) -> Iterator[ServerProcess]:
    """Run a server on one core until the end of the block; ``log`` receives its output.

    Raises:
        DidNotStart: The server does not listen on this port.
    """
    started = time.monotonic()
    with log.open("wb") as out, pinned(core):
        process = subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment
        )
    try:
        while not _listens(port):
            _wait_for_start(process, started, log)
        yield ServerProcess(process.pid, port, time.monotonic() - started)
    finally:
        _stop(process)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _wait_for_start(process: subprocess.Popen[bytes], started: float, log: Path) -> None:
    with suppress(subprocess.TimeoutExpired):
        status = process.wait(PROBE_SECONDS)
        raise DidNotStart(f"{process.args!r} ended with {status}: {log.read_text()[-2000:]}")
    if time.monotonic() - started > START_SECONDS:
        raise DidNotStart(f"{process.args!r} does not listen: {log.read_text()[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in reversed(tree(process.pid)):
            os.kill(pid, 9)
        process.wait()
