"""Prometheus metrics, computed at each scrape.

Metrics are not updated on the audio path: each session keeps plain numbers, and a scrape adds the
numbers of the open sessions to the totals of the ended sessions.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from relay.core.circuit import Circuit
from relay.core.commands import End
from relay.ledger.ledger import Ledger
from relay.sessions.running import RunningSession
from relay.telemetry.record import measures
from relay.upstreams.warm import WarmPools

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Description:
    """The kind, the help text and the labels of a metric."""

    kind: str
    text: str
    labels: tuple[str, ...] = ()


METRICS: Mapping[str, Description] = {
    "relay_sessions_open": Description("gauge", "Sessions open now.", ("persona",)),
    "relay_sessions_total": Description("counter", "Sessions ended.", ("persona", "outcome")),
    "relay_session_duration_seconds": Description("histogram", "Duration of ended sessions."),
    "relay_refusals_total": Description("counter", "Sessions that did not start.", ("code",)),
    "relay_messages_total": Description("counter", "Messages sent.", ("direction",)),
    "relay_message_bytes_total": Description("counter", "Bytes of messages sent.", ("direction",)),
    "relay_audio_seconds_total": Description(
        "counter", "Seconds of audio carried.", ("persona", "direction")
    ),
    "relay_tokens_total": Description(
        "counter", "Tokens that the upstream reports; disjoint kinds.", ("persona", "model", "kind")
    ),
    "relay_transcription_seconds_total": Description(
        "counter", "Seconds transcribed, if they are billed by seconds.", ("persona", "model")
    ),
    "relay_cost_usd_total": Description(
        "counter", "USD, at the prices of the price list.", ("persona", "model")
    ),
    "relay_unpriced_reports_total": Description(
        "counter", "Reports of usage for which there is no price.", ("persona", "model")
    ),
    "relay_ledger_unwritten_rows": Description("gauge", "Ledger rows that wait for the disk."),
    "relay_ledger_failing": Description("gauge", "1 while the ledger cannot be written."),
    "relay_responses_total": Description("counter", "Responses done.", ("persona", "status")),
    "relay_upstream_ready_seconds": Description(
        "histogram", "From dialling the upstream to its confirmation of the persona."
    ),
    "relay_upstream_attempts_total": Description(
        "counter", "Attempts to open a session at an upstream.", ("upstream", "outcome")
    ),
    "relay_upstream_circuit_open": Description(
        "gauge", "1 while an upstream is skipped because it failed.", ("upstream",)
    ),
    "relay_upstream_warm_connections": Description(
        "gauge", "Connections that are open in advance, and wait for a session.", ("upstream",)
    ),
    "relay_upstream_warm_connections_ended_total": Description(
        "counter", "Connections opened in advance, by their end.", ("upstream", "outcome")
    ),
    "relay_first_audio_seconds": Description(
        "histogram", "From the end of speech, or response.create, to the first audio delta."
    ),
    "relay_first_audio_own_seconds": Description(
        "histogram", "The relay's own part: from reading the delta until the connection had it."
    ),
    "relay_blocked_events_total": Description(
        "counter", "Client events refused, or stripped of closed fields.", ("type", "reason")
    ),
    "relay_upstream_errors_total": Description(
        "counter", "Errors that the upstream reports.", ("code",)
    ),
    "relay_tool_seconds": Description(
        "histogram", "Duration of calls of tools that the relay runs.", ("tool", "outcome")
    ),
    "relay_log_lines_dropped_total": Description("counter", "Log lines that could not be written."),
    "relay_event_loop_lag_seconds": Description(
        "gauge", "The longest delay of the event loop in the last 2 seconds."
    ),
    "relay_config_reloads_total": Description(
        "counter", "Reloads of the configuration and of the certificate.", ("outcome",)
    ),
}

_READY_BUCKETS = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 8, 13)
_FIRST_AUDIO_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)
_OWN_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 1, 10)
_DURATION_BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 2700, 3600)

_TOOL_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20)

Totals = dict[str, Counter[tuple[str, ...]]]


class Metrics(Collector):
    """Keeps the totals of ended sessions, and the sessions that are open.

    Attributes:
        ledger: its state is exposed; None before it is open.
        circuits: the circuit of each upstream; their states are exposed.
        warm: the connections opened in advance are exposed; None before the relay runs.
        dropped_log_lines: returns the number of log lines that could not be written.
        loop_lag_seconds: returns the longest delay of the event loop in the last 2 seconds.
    """

    def __init__(self, personas: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        self.ledger: Ledger | None = None
        self.circuits: Mapping[str, Circuit] = {}
        self.warm: WarmPools | None = None
        self.dropped_log_lines: Callable[[], int] = int
        self.loop_lag_seconds: Callable[[], float] = float
        self._open: set[RunningSession] = set()
        self._ended: Totals = {
            name: Counter() for name, d in METRICS.items() if d.kind != "histogram"
        }
        self.expect_personas(personas)
        self.upstream_ready = self._histogram("relay_upstream_ready_seconds", _READY_BUCKETS)
        self.first_audio = self._histogram("relay_first_audio_seconds", _FIRST_AUDIO_BUCKETS)
        self.first_audio_own = self._histogram("relay_first_audio_own_seconds", _OWN_BUCKETS)
        self.duration = self._histogram("relay_session_duration_seconds", _DURATION_BUCKETS)
        self.tool = self._histogram("relay_tool_seconds", _TOOL_BUCKETS)
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def expect_personas(self, personas: Iterable[str]) -> None:
        """Expose zero open sessions for these personas, instead of no sample."""
        self._ended["relay_sessions_open"].update(dict.fromkeys(((p,) for p in personas), 0))

    def started(self, session: RunningSession) -> None:
        """Count a session as open."""
        self._open.add(session)
        self.upstream_ready.observe(session.ready_seconds)

    def ended(self, session: RunningSession, end: End, duration_seconds: float) -> None:
        """Move the counts of a session from the open sessions to the totals."""
        self._open.discard(session)
        for name, labels, amount in measures(session):
            self._ended[name][labels] += amount  # type: ignore[assignment]  # seconds are not whole
        self._ended["relay_sessions_total"][session.persona, end.outcome] += 1
        self.duration.observe(duration_seconds)

    def observe_first_audio(self, seconds: float, own_seconds: float) -> None:
        """Count a wait for the first audio, and the part of it that the relay took."""
        self.first_audio.observe(seconds)
        self.first_audio_own.observe(own_seconds)

    def observe_tool(self, tool: str, outcome: str, seconds: float) -> None:
        """Count a call of a tool that the relay runs."""
        self.tool.labels(tool, outcome).observe(seconds)

    def refused(self, code: str) -> None:
        """Count a session that did not start."""
        self._ended["relay_refusals_total"][(code,)] += 1

    def attempted(self, upstream: str, outcome: str) -> None:
        """Count an attempt to open a session at an upstream."""
        self._ended["relay_upstream_attempts_total"][upstream, outcome] += 1

    def reloaded(self, outcome: str) -> None:
        """Count a reload of the configuration or of the certificate."""
        self._ended["relay_config_reloads_total"][(outcome,)] += 1

    def exposition(self) -> bytes:
        """Return the metrics in the text format of Prometheus."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics."""
        totals = {name: Counter(amounts) for name, amounts in self._ended.items()}
        for session in self._open:
            totals["relay_sessions_open"][(session.persona,)] += 1
            for name, labels, amount in measures(session):
                totals[name][labels] += amount  # type: ignore[assignment]  # as above
        if self.ledger is not None:
            totals["relay_ledger_unwritten_rows"][()] = self.ledger.unwritten
            totals["relay_ledger_failing"][()] = int(self.ledger.failing)
        for upstream, circuit in self.circuits.items():
            totals["relay_upstream_circuit_open"][(upstream,)] = int(circuit.is_open)
        if self.warm is not None:
            for upstream, waiting in self.warm.waiting().items():
                totals["relay_upstream_warm_connections"][(upstream,)] = waiting
            totals["relay_upstream_warm_connections_ended_total"].update(self.warm.ended)
        totals["relay_log_lines_dropped_total"][()] = self.dropped_log_lines()
        lag_seconds = self.loop_lag_seconds()
        totals["relay_event_loop_lag_seconds"][()] = lag_seconds  # type: ignore[assignment]  # as above
        for name, amounts in totals.items():
            yield _family(name, amounts)

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: a test checks the names of this collector."""
        yield from ()

    def _histogram(self, name: str, buckets: tuple[float, ...]) -> Histogram:
        description = METRICS[name]
        return Histogram(
            name,
            description.text,
            description.labels,
            buckets=buckets,
            registry=self.registry,
        )


def _family(name: str, amounts: Mapping[tuple[str, ...], float]) -> Metric:
    description = METRICS[name]
    family_class = GaugeMetricFamily if description.kind == "gauge" else CounterMetricFamily
    family = family_class(name, description.text, labels=description.labels)
    for labels, amount in sorted(amounts.items()):
        family.add_metric(labels, amount)
    return family
