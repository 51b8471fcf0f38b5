"""Has the load do one piece of work after the other, each against a relay that was just started."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from certificate import write_certificate
from contenders import HERE, Contender, Upstream
from load import Job, Report
from machine import Cores, DidNotStart, free_port, placed, serving
from told import first_audio_own_ms

DIRECT = "no relay"
LOAD_SECONDS = 180
"""A load that takes longer hangs."""


@dataclass(frozen=True)
class Run:
    """A piece of work, the same for all."""

    work: str
    sessions: int
    seconds: float
    tls: bool = True


@dataclass
class Results:
    """What came of it all.

    Attributes:
        reports: of each run, by contender, one for each round.
        start_seconds: how long each contender took until it listened, each time.
        capacity: how many sessions each carries, in words.
    """

    reports: dict[Run, dict[str, list[Report]]] = field(default_factory=dict)
    start_seconds: dict[str, list[float]] = field(default_factory=dict)
    capacity: Mapping[str, str] = field(default_factory=dict)

    def add(self, run: Run, name: str, report: Report) -> None:
        """Keep a report."""
        self.reports.setdefault(run, {}).setdefault(name, []).append(report)


class Conductor:
    """Runs the load, and what it is measured against."""

    def __init__(self, folder: Path, upstreams: dict[bool, tuple[Upstream, int]]) -> None:
        """Use these upstreams, with TLS and without, and their processes."""
        self.results = Results()
        self.folder = folder
        self._upstreams = upstreams

    def upstream(self, *, tls: bool) -> Upstream:
        """Return an upstream that runs."""
        return self._upstreams[tls][0]

    def perform(self, run: Run, contender: Contender | None) -> Report:
        """Do a piece of work through a contender, or without one."""
        upstream, pid = self._upstreams[run.tls]
        job = Job(
            work=run.work,
            port=upstream.port,
            ca_file=str(upstream.ca_file) if upstream.ca_file else None,
            configures=True,
            sessions=run.sessions,
            seconds=run.seconds,
            pids={"upstream": pid},
        )
        if contender is None:
            return _report(job)
        try:
            with _folder(self.folder) as own, contender.running(own, upstream) as server:
                started = self.results.start_seconds.setdefault(contender.name, [])
                started.append(server.start_seconds)
                pids = {"upstream": pid, "relay": server.pid}
                through = replace(job, port=server.port, ca_file=None, pids=pids)
                report = _report(replace(through, configures=not contender.configures))
                if contender.tells:
                    report.first_audio_own_ms = first_audio_own_ms(server.port)
                return report
        except DidNotStart as failure:
            return Report(faults=1, first_fault=str(failure))


@contextmanager
def _folder(parent: Path | None = None) -> Iterator[Path]:
    """Provide a folder that others may read: nginx serves as another user than starts it."""
    with TemporaryDirectory(prefix="bench-", dir=parent) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def _report(job: Job) -> Report:
    """Have the load do a job, in a process of its own."""
    command = [sys.executable, str(HERE / "load.py"), json.dumps(asdict(job))]
    with placed(Cores.available().load):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        told, _ = process.communicate(timeout=LOAD_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return Report(faults=1, first_fault="the load hangs")
    if process.returncode:
        return Report(faults=1, first_fault="the load failed")
    return Report(**json.loads(told))


@contextmanager
def conducting() -> Iterator[Conductor]:
    """Provide a conductor whose upstreams run, in a folder for everything that is written."""
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        certificate = folder / "upstream.pem", folder / "upstream.key"
        write_certificate(*certificate)
        upstreams = {}
        for tls in (True, False):
            port = free_port()
            command = [sys.executable, str(HERE / "upstream.py"), str(port)]
            command += map(str, certificate if tls else ())
            log = folder / f"upstream-{port}.log"
            server = stack.enter_context(serving(command, port, log, Cores.available().upstream))
            upstreams[tls] = Upstream(port, certificate[0] if tls else None), server.pid
        yield Conductor(folder, upstreams)
