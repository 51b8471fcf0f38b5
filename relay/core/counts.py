"""The counts of one session, which the log and the metrics read."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from relay.core.reports import Report
from relay.core.stripped_fields import MAX_NAMES
from relay.core.tokens import Tokens


@dataclass(slots=True)
class Used:
    """The usage of one model.

    Attributes:
        cost_usd: cost of the reports with a price.
        priced: number of reports with a price.
        unpriced: number of reports with usage and without a price.
    """

    tokens: Tokens = field(default_factory=Tokens)
    transcription_seconds: float = 0.0
    cost_usd: Decimal = Decimal(0)
    priced: int = 0
    unpriced: int = 0


@dataclass(slots=True)
class Counts:
    """The counts of a session so far: plain attributes, read at a scrape and at the end."""

    used: dict[str, Used] = field(default_factory=dict)
    audio_seconds_to_upstream: float = 0.0
    audio_seconds_to_client: float = 0.0
    responses: Counter[str] = field(default_factory=Counter)
    estimated: int = 0
    unknown: int = 0
    blocked: Counter[tuple[str, str]] = field(default_factory=Counter)
    stripped_fields: dict[str, None] = field(default_factory=dict)
    upstream_errors: Counter[str] = field(default_factory=Counter)
    tool_calls: int = 0
    first_audio_seconds: list[float] = field(default_factory=list)

    def strip(self, event_type: str, names: Iterable[str]) -> None:
        """Count a client event that lost fields, and remember the names of the fields."""
        self.blocked[event_type, "field_stripped"] += 1
        for name in names:
            if len(self.stripped_fields) < MAX_NAMES:
                self.stripped_fields[name] = None

    def add(self, report: Report) -> None:
        """Add the report of one response or transcription."""
        used = self.used.setdefault(report.model, Used())
        used.tokens += report.tokens
        used.transcription_seconds += report.transcription_seconds
        used.cost_usd += report.cost_usd or 0
        used.priced += report.cost_usd is not None
        used.unpriced += report.cost_usd is None and not report.unknown
        self.estimated += report.estimated
        self.unknown += report.unknown
        if report.kind == "response":
            self.responses[report.status] += 1

    @property
    def tokens(self) -> Tokens:
        """The tokens of all models."""
        return sum((used.tokens for used in self.used.values()), Tokens())

    @property
    def transcription_seconds(self) -> float:
        """The seconds of the transcriptions that are billed by duration."""
        return sum(used.transcription_seconds for used in self.used.values())

    @property
    def cost_usd(self) -> Decimal | None:
        """The cost of all priced reports; None if there is usage and no report has a price."""
        if self.used and not any(used.priced for used in self.used.values()):
            return None
        return sum((used.cost_usd for used in self.used.values()), Decimal(0))
