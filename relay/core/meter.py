"""The usage of one session: each report is made once, dated, and added to the counts."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from typing import Final

from msgspec.structs import replace

from relay.core.api_errors import KNOWN_ERRORS
from relay.core.confirmed_session import Confirmed
from relay.core.counts import Counts
from relay.core.errors import EventNotAllowed
from relay.core.estimation import text_and_audio
from relay.core.events import Event, Json, error_of
from relay.core.labels import UNKNOWN, model_label
from relay.core.objects import object_or_empty
from relay.core.reporting import Reports, id_of
from relay.core.reports import Report
from relay.core.requests import Requests
from relay.core.terms import Terms

MAX_UNDERWAY: Final = 100
"""A conversation makes one response at a time, and some beside it. Each costs time at the end."""

MAX_UNTRANSCRIBED: Final = 1_000
"""The turns that wait for their transcriptions at once."""


class Meter:
    """Makes the reports of a session from the events that state its usage.

    Attributes:
        underway: the responses that have begun and are not reported.
        untranscribed: the user's turns that are committed and not transcribed.
        requests: the requests that the upstream has not answered.
    """

    def __init__(self, terms: Terms, confirmed: Confirmed, counts: Counts, *, now: float) -> None:
        billing = terms.billing
        self._reports = Reports(billing.model, billing.prices, prompt_chars=billing.prompt_chars)
        self.underway = self._reports.underway
        self.untranscribed = self._reports.untranscribed
        self.requests = Requests()
        self._label = lru_cache(maxsize=8)(partial(model_label, billing=billing))
        self._started_at = terms.billing.started_at
        self._began = now
        self._terms = terms
        self._confirmed = confirmed
        self._counts = counts

    # Events of the client.

    def check_price(self, event: Event, now: float) -> None:
        """Refuse a transcription model without a price: no budget would limit its usage.

        Raises:
            EventNotAllowed: the event sets such a model, or leaves the choice to the upstream.
        """
        audio = object_or_empty(object_or_empty(event, "session"), "audio")
        transcription = object_or_empty(audio, "input").get("transcription")
        if not isinstance(transcription, dict):
            return
        model = transcription.get("model", self._confirmed.transcriber)
        is_set = "model" in transcription
        prices = self._terms.billing.prices
        is_priced = isinstance(model, str) and prices.of(model, self._today(now)) is not None
        if not is_priced and (is_set or model is None):
            raise EventNotAllowed("'session.audio.input.transcription.model' has no price here.")

    def sent(self, event: Event) -> None:
        """Note an event of the client, other than an append, that is sent to the upstream."""
        self.requests.share(event.get("event_id"))
        match event["type"]:
            case "response.create":
                self.requests.request(event.get("event_id"))
                self._receive(event.get("response"))
            case "input_audio_buffer.commit":
                self.requests.commit(event.get("event_id"))
            case "conversation.item.create":
                if self._receive(event["item"]) and isinstance(event["item"].get("id"), str):
                    self.untranscribed.created(event["item"]["id"])
            case "session.update":
                self.underway.received(text_and_audio(event["session"])[0])

    def _receive(self, part: Json) -> bool:
        """Count the text and the audio in a part of an event; return whether it has audio."""
        text_chars, audio_bytes = text_and_audio(part)
        self.underway.received(text_chars)
        seconds = audio_bytes / self._confirmed.input_bytes_per_second
        self._counts.audio_seconds_to_upstream += seconds
        return audio_bytes > 0

    # Events of the upstream.

    def read(self, event: Event, now: float) -> Report | None:
        """Return the report that an event makes; None if it makes none, or makes it again."""
        make = _MAKERS.get(event["type"])
        return None if make is None else make(self, event, now)

    def _response_created(self, event: Event, _now: float) -> None:
        self._begin(id_of(object_or_empty(event, "response")) or "")
        self.requests.began()

    def _begin(self, response_id: str) -> None:
        self.underway.began(response_id, self._counts.audio_seconds_to_upstream)

    def _response_done(self, event: Event, now: float) -> Report | None:
        response = object_or_empty(event, "response")
        if response.get("status") == "failed":
            self.count_error(object_or_empty(object_or_empty(response, "status_details"), "error"))
        response_id = id_of(response) or ""
        if response_id not in self.underway and not self._reports.is_done(response_id):
            self._begin(response_id)  # no event has shown it
            self.requests.began()
        return self._count(self._reports.response(response, self._today(now)))

    def _speech_started(self, event: Event, _now: float) -> None:
        self.untranscribed.began(event)

    def _speech_stopped(self, event: Event, _now: float) -> None:
        self.untranscribed.ended(event)
        self._end_turn()

    def _committed(self, event: Event, _now: float) -> None:
        self.requests.committed()
        self.untranscribed.committed(
            event,
            self._counts.audio_seconds_to_upstream,
            is_transcribed=self._confirmed.transcriber is not None,
        )
        self._end_turn()

    def _end_turn(self) -> None:
        is_answered = self._confirmed.answers_turns and self._answers
        self.requests.is_turn_due = self.requests.is_turn_due or is_answered

    def _cleared(self, _event: Event, _now: float) -> None:
        self.untranscribed.cleared(self._counts.audio_seconds_to_upstream)

    def _transcribed(self, event: Event, now: float) -> Report | None:
        if not self.untranscribed.is_committed(event):
            self.requests.committed()  # no event has shown the commit
        return self._count(self._reports.transcription(event, self._transcriber, self._today(now)))

    def _transcription_failed(self, event: Event, _now: float) -> None:
        self.untranscribed.failed(event)

    def _refused(self, event: Event, _now: float) -> None:
        self.requests.refused(error_of(event))

    # The end.

    @property
    def awaits_reports(self) -> bool:
        """Whether the upstream has not reported everything that is in progress or requested."""
        requests = self.requests
        is_requested = requests.responses or requests.commits
        return bool(self.underway or self.untranscribed or is_requested)

    @property
    def is_flooded(self) -> bool:
        """Whether the upstream has begun more than a conversation can have in progress."""
        return len(self.underway) > MAX_UNDERWAY or len(self.untranscribed) > MAX_UNTRANSCRIBED

    def outstanding_usd(self, now: float) -> Decimal:
        """Return the estimated cost of everything that is in progress or requested."""
        received_seconds = self._counts.audio_seconds_to_upstream
        transcriber, today = self._confirmed.transcriber, self._today(now)
        return self._reports.outstanding_usd(self.requests, received_seconds, transcriber, today)

    def cut_off(self, now: float) -> Iterator[Report]:
        """Yield a report of all usage that the upstream will not report any more."""
        received_seconds = self._counts.audio_seconds_to_upstream
        for number in range(self.requests.commits):
            self._committed({"item_id": f"requested_{number + 1}"}, now)
            if self._answers and self._confirmed.transcriber is None:
                self.requests.is_turn_due = True  # its audio is billed with the next response
        for _ in range(self.requests.responses):
            self.underway.requested(received_seconds)
        self.requests = Requests()
        for report in self._reports.cut_off(self._transcriber, self._today(now)):
            yield self._counted(report)

    def count_error(self, error: Mapping[str, Json]) -> None:
        """Count an error of the upstream by its code, one of a closed set."""
        code = error.get("code")
        label = code if isinstance(code, str) and code in KNOWN_ERRORS else "other"
        self._counts.upstream_errors[label] += 1

    def _count(self, report: Report | None) -> Report | None:
        return None if report is None else self._counted(report)

    def _counted(self, report: Report) -> Report:
        label = self._label(report.model)
        labelled = report if label == report.model else replace(report, model=label)
        self._counts.add(labelled)
        return labelled

    @property
    def _answers(self) -> bool:
        """Whether the session has responses."""
        return self._terms.policy.session_type == "realtime"

    @property
    def _transcriber(self) -> str:
        return self._confirmed.transcriber or UNKNOWN

    def _today(self, now: float) -> date:
        return (self._started_at + timedelta(seconds=now - self._began)).date()

    @classmethod
    def reads(cls, event_type: str) -> bool:
        """Return whether server events of this type are read here."""
        return event_type in _MAKERS


_MAKERS: Final[Mapping[str, Callable[[Meter, Event, float], Report | None]]] = {
    "response.created": Meter._response_created,
    "response.done": Meter._response_done,
    "input_audio_buffer.speech_started": Meter._speech_started,
    "input_audio_buffer.speech_stopped": Meter._speech_stopped,
    "input_audio_buffer.committed": Meter._committed,
    "input_audio_buffer.cleared": Meter._cleared,
    "conversation.item.input_audio_transcription.completed": Meter._transcribed,
    "conversation.item.input_audio_transcription.failed": Meter._transcription_failed,
    "error": Meter._refused,
}
"""The server events that state usage, or that it is coming."""
