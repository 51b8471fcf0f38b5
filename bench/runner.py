"""Runs one workload after the other, each against a newly started contender."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from certificate import write_certificate
from contenders import HERE, Contender, UpstreamAddress
from job import Job, LoadReport
from machine import Cores, DidNotStart, free_port, pinned, serving
from relay_metrics import first_audio_own_ms

DIRECT = "no relay"
LOAD_SECONDS = 180
"""A load process that takes longer hangs."""


@dataclass(frozen=True)
class Workload:
    """The work of one run, the same for all contenders."""

    work: str
    sessions: int
    seconds: float
    tls: bool = True


@dataclass
class Results:
    """The results of all runs.

    Attributes:
        reports: By workload and contender: a report for each round.
        start_seconds: By contender: the time until it listened, for each start.
        capacity: By contender: the number of sessions that it carries in time, as text.
    """

    reports: dict[Workload, dict[str, list[LoadReport]]] = field(default_factory=dict)
    start_seconds: dict[str, list[float]] = field(default_factory=dict)
    capacity: Mapping[str, str] = field(default_factory=dict)

    def add(self, workload: Workload, name: str, report: LoadReport) -> None:
        """Add the report of a round."""
        self.reports.setdefault(workload, {}).setdefault(name, []).append(report)


class Runner:
    """Runs workloads, and keeps their results."""

    def __init__(self, folder: Path, upstreams: dict[bool, tuple[UpstreamAddress, int]]) -> None:
        """Use these running upstreams: the key is TLS, the number is the process id."""
        self.results = Results()
        self.folder = folder
        self._upstreams = upstreams

    def upstream(self, *, tls: bool) -> UpstreamAddress:
        """Return the address of the upstream with or without TLS."""
        return self._upstreams[tls][0]

    def run(self, workload: Workload, contender: Contender | None) -> LoadReport:
        """Run a workload through a contender, or directly against the upstream."""
        upstream, pid = self._upstreams[workload.tls]
        job = Job(
            work=workload.work,
            port=upstream.port,
            ca_file=str(upstream.ca_file) if upstream.ca_file else None,
            configures=True,
            sessions=workload.sessions,
            seconds=workload.seconds,
            pids={"upstream": pid},
        )
        if contender is None:
            return _run_load(job)
        try:
            with (
                shared_folder(self.folder) as folder,
                contender.running(folder, upstream) as server,
            ):
                started = self.results.start_seconds.setdefault(contender.name, [])
                started.append(server.start_seconds)
                pids = {"upstream": pid, "relay": server.pid}
                through = replace(job, port=server.port, ca_file=None, pids=pids)
                report = _run_load(replace(through, configures=not contender.configures))
                if contender.has_metrics:
                    report.first_audio_own_ms = first_audio_own_ms(server.port)
                return report
        except DidNotStart as failure:
            return LoadReport(faults=1, first_fault=str(failure))


@contextmanager
def shared_folder(parent: Path | None = None) -> Iterator[Path]:
    """Provide a folder that all users may read: nginx serves as another user."""
    with TemporaryDirectory(prefix="bench-", dir=parent) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def _run_load(job: Job) -> LoadReport:
    """Run a job in a new load process."""
    command = [sys.executable, str(HERE / "load.py"), json.dumps(asdict(job))]
    with pinned(Cores.available().load):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        printed, _ = process.communicate(timeout=LOAD_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return LoadReport(faults=1, first_fault="the load hangs")
    if process.returncode:
        return LoadReport(faults=1, first_fault="the load failed")
    return LoadReport(**json.loads(printed))


@contextmanager
def start_runner() -> Iterator[Runner]:
    """Provide a runner with running upstreams, and a temporary folder for all files."""
    with ExitStack() as stack:
        folder = stack.enter_context(shared_folder())
        certificate = folder / "upstream.pem", folder / "upstream.key"
        write_certificate(*certificate)
        upstreams = {}
        for tls in (True, False):
            port = free_port()
            command = [sys.executable, str(HERE / "upstream.py"), str(port)]
            command += map(str, certificate if tls else ())
            log = folder / f"upstream-{port}.log"
            server = stack.enter_context(serving(command, port, log, Cores.available().upstream))
            upstreams[tls] = UpstreamAddress(port, certificate[0] if tls else None), server.pid
        yield Runner(folder, upstreams)
