"""What there is to write down of one response or one transcription, once it is told or cut off.

The upstream reports each once; one that comes again, or that comes without any usage, is seen to
here, so the ledger, the metrics, the log and the client are all told the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Literal

from relay.core.estimation import Underway, Untranscribed, estimated_transcription
from relay.core.events import Event, Json
from relay.core.metering import (
    Tokens,
    is_split_guessed,
    seconds_of_transcription,
    tokens_of_response,
    tokens_of_transcription,
)
from relay.core.pricing import Prices

STATUSES = frozenset({"completed", "cancelled", "incomplete", "failed"})
CUT_OFF = "cut_off"


@dataclass(frozen=True, slots=True)
class Report:
    """One response or transcription, and what it used.

    Attributes:
        report_id: what the upstream calls it.
        model: the one that is billed.
        status: of a response, as the API says it; of a transcription, ``completed``; ``cut_off``
            of what the upstream never reported.
        cost_usd: None when there is no price for what was used.
        estimated: the tokens or the seconds are made from the audio that went by, or it is a
            guess of which kind those are that were cached.
        unknown: the upstream told no usage; the tokens are not zero but missing.
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


class Reports:
    """Makes the reports of one session."""

    def __init__(self, model: str, prices: Prices) -> None:
        """Report on responses of this model, at these prices."""
        self.underway = Underway()
        self.untranscribed = Untranscribed()
        self._model = model
        self._prices = prices
        self._seen: set[str] = set()

    def response(self, response: Event, on: date) -> Report | None:
        """Return the report of a response that is done; None if it was reported before."""
        name = response.get("id")
        self.underway.reported(str(name))
        report_id = self._new(name)
        if report_id is None:
            return None
        usage = response.get("usage")
        tokens = tokens_of_response(usage)
        return self._report(
            Report(
                report_id,
                "response",
                self._model,
                _status(response.get("status")),
                tokens or Tokens(),
                estimated=tokens is not None and is_split_guessed(usage),
                unknown=tokens is None,
            ),
            on,
        )

    def transcription(self, event: Event, model: str, on: date) -> Report | None:
        """Return the report of a transcription; None if it was reported before."""
        item_id = event.get("item_id")
        self.untranscribed.reported(event)
        part = f"{item_id}/{event.get('content_index', 0)}" if isinstance(item_id, str) else None
        report_id = self._new(part)
        if report_id is None:
            return None
        usage = event.get("usage")
        tokens, seconds = tokens_of_transcription(usage), seconds_of_transcription(usage)
        return self._report(
            Report(
                report_id,
                "transcription",
                model,
                "completed",
                tokens or Tokens(),
                seconds,
                unknown=tokens is None and not seconds,
            ),
            on,
        )

    def cut_off(self, transcriber: str, on: date) -> Iterator[Report]:
        """Yield a report of all that will not be told of any more, by its audio."""
        for report_id, tokens in tuple(self.underway.estimates()):
            self._seen.add(report_id)
            self.underway.reported(report_id)
            estimate = Report(report_id, "response", self._model, CUT_OFF, tokens, estimated=True)
            yield self._report(estimate, on)
        for item_id, seconds in self.untranscribed.cut_off().items():
            part = self._new(f"{item_id}/0")
            if part is not None:
                yield self._report(self._estimate(part, transcriber, seconds, on), on)

    def _estimate(self, report_id: str, model: str, seconds: float, on: date) -> Report:
        """Return the report of a transcription by its turn's length, as its model is billed."""
        price = self._prices.of(model, on)
        estimate = Report(
            report_id, "transcription", model, CUT_OFF, Tokens(), seconds, estimated=True
        )
        if price is None or price.usd_per_minute is not None:
            return estimate
        return replace(estimate, tokens=estimated_transcription(seconds), transcription_seconds=0.0)

    def _new(self, report_id: object) -> str | None:
        name = report_id if isinstance(report_id, str) else f"unnamed_{len(self._seen)}"
        if name in self._seen:
            return None
        self._seen.add(name)
        return name

    def _report(self, report: Report, on: date) -> Report:
        """Return the report with what it costs."""
        if report.unknown:
            return report
        cost = self._prices.cost(report.model, report.tokens, report.transcription_seconds, on)
        return replace(report, cost_usd=cost)


def _status(status: Json) -> str:
    return status if isinstance(status, str) and status in STATUSES else "other"
