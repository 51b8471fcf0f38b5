"""The machine: its cores, and the processes that run on them, from their start to their end."""

import os
import resource
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from measure import tree

HOST = "127.0.0.1"
PRIORITY = 10
FILES = 20_000
"""A relay with a thousand sessions has two thousand sockets."""

LOOK_SECONDS = 0.01
START_SECONDS = 120
STOP_SECONDS = 15


class DidNotStart(Exception):
    """A process ended, or took too long, before it listened."""


@dataclass(frozen=True)
class Cores:
    """Where each runs; with two cores, the upstream and the load share one."""

    relay: int
    upstream: int
    load: int

    @classmethod
    def available(cls) -> "Cores":
        """Take the first ones that this process may use."""
        mine = sorted(os.sched_getaffinity(0))
        return cls(mine[0], mine[min(1, len(mine) - 1)], mine[min(2, len(mine) - 1)])


@dataclass(frozen=True)
class Server:
    """A process that listens, and how long it took until it did."""

    pid: int
    port: int
    start_seconds: float


def allow_many_files() -> None:
    """Let this process and those that it starts have the open files that they need, if it may."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = FILES if most == resource.RLIM_INFINITY else min(FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def has_realtime() -> bool:
    """Tell whether processes may be scheduled in real time, ahead of all other work."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    except PermissionError:
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


@contextmanager
def placed(core: int) -> Iterator[None]:
    """Let what is started meanwhile run on this core alone, in real time if it may."""
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
    """Return a port on which nobody listens."""
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
) -> Iterator[Server]:
    """Run a server on one core until the end of the block; what it prints goes to ``log``.

    Raises:
        DidNotStart: it does not listen on this port.
    """
    started = time.monotonic()
    with log.open("wb") as out, placed(core):
        process = subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment
        )
    try:
        while not _listens(port):
            _wait_a_little(process, started, log)
        yield Server(process.pid, port, time.monotonic() - started)
    finally:
        _stop(process)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _wait_a_little(process: subprocess.Popen[bytes], started: float, log: Path) -> None:
    with suppress(subprocess.TimeoutExpired):
        status = process.wait(LOOK_SECONDS)
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
