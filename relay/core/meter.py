"""The usage of one session: each report is made once, dated, and added to the counts."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from typing import ClassVar

from relay.core.api_errors import KNOWN_ERRORS
from relay.core.confirmed_session import Confirmed
from relay.core.counts import Counts
from relay.core.events import Event, Json
from relay.core.objects import object_or_empty
from relay.core.reports import Report, Reports
from relay.core.terms import Terms

UNKNOWN = "unknown"
"""Model name used when neither the upstream nor the persona names a transcription model."""


class Meter:
    """Makes the reports of a session from the events that state its usage.

    Attributes:
        underway: the responses that have begun and are not reported.
        untranscribed: the user's turns that are committed and not transcribed.
    """

    def __init__(self, terms: Terms, confirmed: Confirmed, counts: Counts, *, now: float) -> None:
        self._reports = Reports(terms.billing.model, terms.billing.prices)
        self.underway = self._reports.underway
        self.untranscribed = self._reports.untranscribed
        self._started_at = terms.billing.started_at
        self._began = now
        self._confirmed = confirmed
        self._counts = counts

    def read(self, event: Event, now: float) -> Report | None:
        """Return the report that an event makes; None if it makes none, or makes it again."""
        make = self._makers.get(event["type"])
        return None if make is None else make(self, event, now)

    def response_done(self, event: Event, now: float) -> Report | None:
        """Return the report of a ``response.done``; None if it was reported before."""
        response = object_or_empty(event, "response")
        if response.get("status") == "failed":
            self.count_error(object_or_empty(object_or_empty(response, "status_details"), "error"))
        return self._count(self._reports.response(response, self._today(now)))

    def transcribed(self, event: Event, now: float) -> Report | None:
        """Return the report of a transcription; None if it was reported before."""
        return self._count(self._reports.transcription(event, self._transcriber, self._today(now)))

    def cut_off(self, now: float) -> Iterator[Report]:
        """Yield a report of all usage that the upstream will not report any more."""
        for report in self._reports.cut_off(self._transcriber, self._today(now)):
            self._counts.add(report)
            yield report

    def count_error(self, error: Mapping[str, Json]) -> None:
        """Count an error of the upstream by its code, one of a closed set."""
        code = error.get("code")
        label = code if isinstance(code, str) and code in KNOWN_ERRORS else "other"
        self._counts.upstream_errors[label] += 1

    def _count(self, report: Report | None) -> Report | None:
        if report is not None:
            self._counts.add(report)
        return report

    @property
    def _transcriber(self) -> str:
        return self._confirmed.transcriber or UNKNOWN

    def _today(self, now: float) -> date:
        return (self._started_at + timedelta(seconds=now - self._began)).date()

    _makers: ClassVar[Mapping[str, Callable[["Meter", Event, float], Report | None]]] = {
        "response.done": response_done,
        "conversation.item.input_audio_transcription.completed": transcribed,
    }
    """The server events that state usage."""

    @classmethod
    def reports_usage(cls, event_type: str) -> bool:
        """Return whether server events of this type state usage."""
        return event_type in cls._makers
