"""What a minted credential opens, in the shapes of the beta interface's REST API.

``openai.types.beta.realtime`` has the shapes; ``id``, ``object`` and ``model`` it does not know,
and OpenAI's published examples have them.
"""

from collections.abc import Mapping

from relay.core.events import Event
from relay.dialects.beta import fields
from relay.dialects.beta.shapes import Shape, number, record, text
from relay.dialects.beta.vocabulary import HEARING, SECRET, SPEAKING, TRANSCRIBING, VAD

_NAMED: Mapping[str, Shape] = {"id": text, "object": text, "model": text}
_SESSION = record(
    {
        **_NAMED,
        **SPEAKING,
        "modalities": HEARING["modalities"],
        "input_audio_format": HEARING["input_audio_format"],
        "input_audio_transcription": record({"model": text}),
        "turn_detection": record(VAD),
        "temperature": number,
    },
    {"client_secret": SECRET},
)
_TRANSCRIPTION_SESSION = record({**_NAMED, **TRANSCRIBING}, {"client_secret": SECRET})


def minted_session(session: Event, secret: Event) -> Event:
    """Return a session of GA, and its secret, as ``sessions.create`` answers."""
    said: Event = _SESSION(fields.session_down(session) | {"client_secret": secret})
    return said


def minted_transcription_session(session: Event, secret: Event) -> Event:
    """Return a session of GA, and its secret, as ``transcription_sessions.create`` answers."""
    named = {"object": "realtime.transcription_session", "client_secret": secret}
    said: Event = _TRANSCRIPTION_SESSION(fields.session_down(session) | named)
    return said
