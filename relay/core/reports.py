"""A report of usage: of one response, or of one transcription."""

from decimal import Decimal
from typing import Literal

from msgspec import Struct

from relay.core.tokens import Tokens


class Report(Struct, frozen=True, gc=False):
    """One response or transcription, and its usage.

    Attributes:
        report_id: the id from the upstream, unique in the session and of limited length.
        model: the model that is billed; a transcription has its own.
        status: the status of a response in the API, ``completed`` for a transcription, and
            ``cut_off`` without a report from the upstream.
        cost_usd: None if a price is missing.
        estimated: the tokens or the seconds are estimated from the audio and text, or the kinds of
            the cached tokens are a guess.
        unknown: the upstream reported no usage; the tokens are not zero but missing.
        estimated_usd: the estimated cost of usage that is unknown or has a kind without a price,
            for the budgets only.
    """

    report_id: str
    kind: Literal["response", "transcription"]
    model: str
    status: str
    tokens: Tokens
    transcription_seconds: float = 0.0
    cost_usd: Decimal | None = None
    estimated: bool = False
    unknown: bool = False
    estimated_usd: Decimal | None = None

    @property
    def charge_usd(self) -> Decimal:
        """The amount that a budget is charged."""
        return self.cost_usd or self.estimated_usd or Decimal(0)
