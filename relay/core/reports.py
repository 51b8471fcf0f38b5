"""Reports of usage: one for each response and each transcription.

The upstream reports each one once. This module ignores a repeated report and marks a report without
usage. So the ledger, the metrics, the log and the client all receive the same numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Literal

from relay.core.estimation import Underway, Untranscribed, estimated_transcription
from relay.core.events import Event, Json
from relay.core.pricing import Prices
from relay.core.tokens import (
    Tokens,
    is_split_guessed,
    seconds_of_transcription,
    tokens_of_response,
    tokens_of_transcription,
)

STATUSES = frozenset({"completed", "cancelled", "incomplete", "failed"})
CUT_OFF = "cut_off"


@dataclass(frozen=True, slots=True)
class Report:
    """One response or transcription, and its usage.

    Attributes:
        report_id: the id from the upstream; a report with the same id is the same report.
        model: the model that is billed; a transcription has its own.
        status: the status of a response in the API, ``completed`` for a transcription, and
            ``cut_off`` without a report from the upstream.
        cost_usd: None if a price is missing.
        estimated: the tokens or the seconds are estimated from the audio, or the kinds of the
            cached tokens are a guess.
        unknown: the upstream reported no usage; the tokens are not zero but missing.
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
        """Report the responses of this model, with these prices."""
        self.underway = Underway()
        self.untranscribed = Untranscribed()
        self._model = model
        self._prices = prices
        self._seen: set[str] = set()

    def response(self, response: Event, on: date) -> Report | None:
        """Return the report of a response that is done; None if the response has a report."""
        name = response.get("id")
        self.underway.reported(str(name))
        report_id = self._new_id(name)
        if report_id is None:
            return None
        usage = response.get("usage")
        tokens = tokens_of_response(usage)
        return self._priced(
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
        """Return the report of a transcription; None if the transcription has a report."""
        item_id = event.get("item_id")
        self.untranscribed.reported(event)
        part = f"{item_id}/{event.get('content_index', 0)}" if isinstance(item_id, str) else None
        report_id = self._new_id(part)
        if report_id is None:
            return None
        usage = event.get("usage")
        tokens, seconds = tokens_of_transcription(usage), seconds_of_transcription(usage)
        return self._priced(
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
        """Yield an estimated report of each response and transcription without a report."""
        for report_id, tokens in tuple(self.underway.estimates()):
            self._seen.add(report_id)
            self.underway.reported(report_id)
            estimate = Report(report_id, "response", self._model, CUT_OFF, tokens, estimated=True)
            yield self._priced(estimate, on)
        for item_id, seconds in self.untranscribed.cut_off().items():
            part = self._new_id(f"{item_id}/0")
            if part is not None:
                yield self._priced(self._cut_off_turn(part, transcriber, seconds, on), on)

    def _cut_off_turn(self, report_id: str, model: str, seconds: float, on: date) -> Report:
        """Return the report of a transcription by the length of its turn.

        The unit is that of the model's price: tokens, or seconds if it is by the minute or unknown.
        """
        price = self._prices.of(model, on)
        estimate = Report(
            report_id, "transcription", model, CUT_OFF, Tokens(), seconds, estimated=True
        )
        if price is None or price.usd_per_minute is not None:
            return estimate
        return replace(estimate, tokens=estimated_transcription(seconds), transcription_seconds=0.0)

    def _new_id(self, report_id: object) -> str | None:
        """Return the id of a new report, invented if there is none; None if the id is known."""
        name = report_id if isinstance(report_id, str) else f"unnamed_{len(self._seen)}"
        if name in self._seen:
            return None
        self._seen.add(name)
        return name

    def _priced(self, report: Report, on: date) -> Report:
        """Return the report with its cost."""
        if report.unknown:
            return report
        cost = self._prices.cost(report.model, report.tokens, report.transcription_seconds, on)
        return replace(report, cost_usd=cost)


def _status(status: Json) -> str:
    return status if isinstance(status, str) and status in STATUSES else "other"
