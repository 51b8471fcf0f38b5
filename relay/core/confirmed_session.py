"""The session object as the upstream confirmed it last."""

from relay.core.audio import bytes_per_second
from relay.core.events import Event
from relay.core.objects import object_or_empty
from relay.core.redaction import redact_session
from relay.core.terms import Terms


class Confirmed:
    """The confirmed session object.

    Attributes:
        input_bytes_per_second: of the audio that the client sends.
        output_bytes_per_second: of the audio that the upstream sends.
    """

    __slots__ = ("_session", "_terms", "input_bytes_per_second", "output_bytes_per_second")

    def __init__(self, terms: Terms, session: Event) -> None:
        self._terms = terms
        self.update(session)

    def update(self, session: Event) -> None:
        """Take the session object of a ``session.updated``."""
        self._session = session
        self.input_bytes_per_second = bytes_per_second(session, "input")
        self.output_bytes_per_second = bytes_per_second(session, "output")

    def shown(self) -> Event:
        """Return the session object that the client may see."""
        return self.redact(self._session)

    def redact(self, session: Event) -> Event:
        """Return any session object of the upstream as the client may see it."""
        return redact_session(
            session,
            session_id=self._terms.session_id,
            expires_at=self._terms.expires_at,
            persona_words=self._terms.persona_words,
            opened=self._terms.policy.session,
            closed=self._terms.closed_fields,
        )

    @property
    def answers_turns(self) -> bool:
        """Whether the upstream makes a response by itself when a turn of the user ends."""
        detection = object_or_empty(self._input, "turn_detection")
        return bool(detection) and detection.get("create_response") is not False

    @property
    def transcriber(self) -> str | None:
        """The model that transcribes the user, which has a price of its own; None without one."""
        settings = self._input
        if settings.get("transcription", {}) is None:
            return None
        model = object_or_empty(settings, "transcription").get("model")
        return model if isinstance(model, str) else self._terms.billing.transcriber

    @property
    def _input(self) -> Event:
        return object_or_empty(object_or_empty(self._session, "audio"), "input")
