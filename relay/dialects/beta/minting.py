"""The session of a minted credential, in the shapes of the beta interface's REST API.

The shapes come from ``openai.types.beta.realtime``. The fields ``id``, ``object`` and ``model`` are
not in these types, but OpenAI's published examples have them.
"""

from relay.core.events import Event
from relay.dialects.beta import fields
from relay.dialects.beta.vocabulary import minted_sessions

_NOT_IN_THE_TYPES = ("id", "object", "model")


def minted_session(session: Event, secret: Event) -> Event:
    """Return a session of GA and its secret as ``sessions.create`` returns them."""
    return _minted(session, secret, "SessionCreateResponse")


def minted_transcription_session(session: Event, secret: Event) -> Event:
    """Return a session of GA and its secret as ``transcription_sessions.create`` returns them."""
    transcription = session | {"object": "realtime.transcription_session"}
    return _minted(transcription, secret, "TranscriptionSession")


def _minted(session: Event, secret: Event, kind: str) -> Event:
    untyped = {name: session[name] for name in _NOT_IN_THE_TYPES if name in session}
    shape = minted_sessions()[kind]
    return {**untyped, **shape(fields.session_down(session) | {"client_secret": secret})}
