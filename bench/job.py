"""The job of the load process and its report: both are JSON between the processes."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Job:
    """The work of one load process.

    Attributes:
        work: A name in ``load.WORK``.
        port: The port of the relay, or of the upstream.
        ca_file: The certificate authority of an upstream that is reached without a relay.
        configures: The client sends a ``session.update``.
        sessions: The number of sessions or of connections.
        seconds: The duration of the measurement.
        pids: The measured processes by part: ``relay``, ``upstream``.
    """

    work: str
    port: int
    ca_file: str | None
    configures: bool
    sessions: int
    seconds: float
    pids: Mapping[str, int]


@dataclass
class LoadReport:
    """The results of one job.

    Attributes:
        messages: Messages of both directions that were relayed in the window.
        seconds: The duration of the window.
        cpu_ns: CPU time in the window by part; the load is a part too.
        latency_ms: By percentile, from an append to its delta; of connections, until ready.
        upgrade_ms: By percentile, until the 101 if the relay has configured the session by then,
            else until ready.
        memory_bytes: The growth of the relay's memory for each session.
        connections: Connections that were opened; for most work, and closed in the window.
        refused: Connections that the relay refused, where refusals are no faults.
        first_audio_own_ms: The mean delay of an answer's first audio inside the relay.
        faults: The number of faults.
        first_fault: A description of the first fault.
    """

    messages: int = 0
    seconds: float = 0.0
    cpu_ns: Mapping[str, int] = field(default_factory=dict)
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    upgrade_ms: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: float = 0.0
    connections: int = 0
    refused: int = 0
    first_audio_own_ms: float = 0.0
    faults: int = 0
    first_fault: str = ""
