"""Reports of usage: one for each response and each transcription.

The upstream reports each one once. This module ignores a repeated report and marks a report without
usage. So the ledger, the metrics, the log and the client all receive the same numbers. An id can
come again for another response or transcription; that one gets an id of its own.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from functools import lru_cache

from msgspec.structs import replace

from relay.core.estimation import (
    TOKENS_PER_INPUT_SECOND,
    Underway,
    Untranscribed,
    estimated_transcription,
)
from relay.core.events import Event, Json
from relay.core.ids import bounded
from relay.core.pricing import Prices
from relay.core.reports import Report
from relay.core.requests import Requests
from relay.core.tokens import Tokens
from relay.core.usage import (
    is_split_guessed,
    seconds_of_transcription,
    text_of_transcription,
    tokens_of_response,
    tokens_of_transcription,
    whole_number,
)

STATUSES = frozenset({"completed", "cancelled", "incomplete", "failed"})
CUT_OFF = "cut_off"


class Reports:
    """Makes the reports of one session."""

    def __init__(self, model: str, prices: Prices, *, prompt_chars: int = 0) -> None:
        """Report the responses of this model, with these prices, to a prompt of this length."""
        self.underway = Underway(prompt_chars)
        self.untranscribed = Untranscribed()
        self._model = model
        self._price = lru_cache(maxsize=8)(prices.of)
        self._done: set[str] = set()
        self._ids: set[str] = set()
        self._uses: Counter[str] = Counter()

    def is_done(self, response_id: str) -> bool:
        """Return whether a response with this id was reported."""
        return response_id in self._done

    def response(self, response: Event, on: date) -> Report | None:
        """Return the report of a response that is done; None if the response has a report."""
        response_id = id_of(response)
        is_repeated = response_id in self._done and response_id not in self.underway
        made = self.underway.reported(response_id or "")
        if is_repeated:
            return None
        if response_id is not None:
            self._done.add(response_id)
        usage = response.get("usage")
        tokens = tokens_of_response(usage)
        estimate = self.underway.estimate(made) if tokens is None else tokens
        self.underway.learn(estimate)
        report = Report(
            self._unused(response_id),
            "response",
            self._model,
            _status(response.get("status")),
            tokens or Tokens(),
            estimated=tokens is not None and is_split_guessed(usage),
            unknown=tokens is None,
        )
        if report.unknown:
            return self._charged(report, estimate, 0.0, on)
        return self._priced(report, on)

    def transcription(self, event: Event, model: str, on: date) -> Report | None:
        """Return the report of a transcription; None if the transcription has a report."""
        length_seconds = self.untranscribed.reported(event)
        if length_seconds is None:
            return None
        item_id = event.get("item_id")
        part = whole_number(event, "content_index")
        usage = event.get("usage")
        tokens, seconds = tokens_of_transcription(usage), seconds_of_transcription(usage)
        estimate = self._estimate(model, length_seconds or seconds or _seconds_of(tokens), on)
        report = Report(
            self._unused(f"{bounded(item_id)}/{part}" if isinstance(item_id, str) else None),
            "transcription",
            model,
            "completed",
            tokens or Tokens(),
            seconds,
            unknown=tokens is None and not seconds,
        )
        if report.unknown:
            return self._charged(report, *estimate, on)
        priced = self._priced(report, on, text_of_transcription(usage))
        # The price list may have the model in the other unit: tokens or minutes.
        return priced if priced.cost_usd is not None else self._charged(priced, *estimate, on)

    def outstanding_usd(
        self,
        requests: Requests,
        received_seconds: float,
        transcriber: str | None,
        on: date,
    ) -> Decimal:
        """Return the estimated cost of everything that is in progress or requested."""
        expected = max(requests.responses, min(requests.commits, 1) if transcriber is None else 0)
        usd = Decimal(0)
        if price := self._price(self._model, on):
            usd += sum(map(price.charge, self.underway.outstanding(expected, received_seconds)))
        if transcriber is not None:
            seconds = self.untranscribed.outstanding_seconds(
                commits=requests.commits, received_seconds=received_seconds
            )
            tokens, billed_seconds = self._estimate(transcriber, seconds, on)
            usd += self._cost(transcriber, tokens, billed_seconds, on) or 0
        return usd

    def cut_off(self, transcriber: str, on: date) -> Iterator[Report]:
        """Yield an estimated report of each response and transcription without a report."""
        for response_id, tokens in self.underway.cut_off():
            self._done.add(response_id)
            report_id = self._unused(response_id)
            estimate = Report(report_id, "response", self._model, CUT_OFF, tokens, estimated=True)
            yield self._priced(estimate, on)
        for item_id, length_seconds in self.untranscribed.cut_off().items():
            tokens, seconds = self._estimate(transcriber, length_seconds, on)
            report_id = self._unused(f"{item_id}/0")
            estimate = Report(
                report_id, "transcription", transcriber, CUT_OFF, tokens, seconds, estimated=True
            )
            yield self._priced(estimate, on)

    def _cost(
        self, model: str, tokens: Tokens, seconds: float, on: date, text_tokens: int = 0
    ) -> Decimal | None:
        price = self._price(model, on)
        return None if price is None else price.cost(tokens, seconds, text_tokens)

    def _estimate(self, model: str, seconds: float, on: date) -> tuple[Tokens, float]:
        """Return the tokens and the seconds of a transcription by the length of its turn.

        The unit is that of the model's price: tokens, or seconds if it is by the minute or unknown.
        """
        price = self._price(model, on)
        if price is None or price.usd_per_minute is not None:
            return Tokens(), seconds
        return estimated_transcription(seconds), 0.0

    def _unused(self, name: str | None) -> str:
        """Return the id of a new report: the name, with a number if the session has used it."""
        name = "unnamed" if name is None else name
        report_id = name
        while report_id in self._ids:
            self._uses[name] += 1
            report_id = f"{name}#{self._uses[name] + 1}"
        self._ids.add(report_id)
        return report_id

    def _priced(self, report: Report, on: date, text_tokens: int = 0) -> Report:
        """Return the report with its cost; ``text_tokens`` are those that were transcribed."""
        cost = self._cost(
            report.model, report.tokens, report.transcription_seconds, on, text_tokens
        )
        if cost is None and (price := self._price(report.model, on)):
            return replace(report, estimated_usd=price.charge(report.tokens))
        return replace(report, cost_usd=cost)

    def _charged(self, report: Report, tokens: Tokens, seconds: float, on: date) -> Report:
        """Return a report of unknown usage with the estimated cost."""
        return replace(report, estimated_usd=self._cost(report.model, tokens, seconds, on))


def id_of(response: Event) -> str | None:
    """Return the id of a response, as it is stored; None without one."""
    name = response.get("id")
    return bounded(name) if isinstance(name, str) else None


def _seconds_of(tokens: Tokens | None) -> float:
    """Return the length of transcribed audio by its tokens."""
    return tokens.transcription_input / TOKENS_PER_INPUT_SECOND if tokens else 0.0


def _status(status: Json) -> str:
    return status if isinstance(status, str) and status in STATUSES else "other"
