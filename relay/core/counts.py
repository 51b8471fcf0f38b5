"""What a session did so far, which the log, the metrics and the ledger are told of."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from relay.core.metering import Tokens
from relay.core.reports import Report


@dataclass(slots=True)
class Used:
    """What was used of one model.

    Attributes:
        cost_usd: of what has a price.
        priced: reports that have one.
        unpriced: reports that have none.
    """

    tokens: Tokens = field(default_factory=Tokens)
    transcription_seconds: float = 0.0
    cost_usd: Decimal = Decimal(0)
    priced: int = 0
    unpriced: int = 0


@dataclass(slots=True)
class Counts:
    """What a session did so far: plain attributes, read when somebody asks."""

    used: dict[str, Used] = field(default_factory=dict)
    audio_seconds_to_upstream: float = 0.0
    audio_seconds_to_client: float = 0.0
    responses: Counter[str] = field(default_factory=Counter)
    estimated: int = 0
    unknown: int = 0
    blocked: Counter[tuple[str, str]] = field(default_factory=Counter)
    upstream_errors: Counter[str] = field(default_factory=Counter)
    tool_calls: int = 0
    first_audio_seconds: list[float] = field(default_factory=list)

    def add(self, report: Report) -> None:
        """Add what one response or transcription used."""
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
        """The seconds transcribed, where they are billed so."""
        return sum(used.transcription_seconds for used in self.used.values())

    @property
    def cost_usd(self) -> Decimal | None:
        """What everything with a price cost; None if there is nothing but what has none."""
        if self.used and not any(used.priced for used in self.used.values()):
            return None
        return sum((used.cost_usd for used in self.used.values()), Decimal(0))
