"""What `client.realtime` and `client.beta.realtime` of the package `openai` say differently."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

PIRATE = "You are a pirate."
HELLO = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "Hello"}],
}


@dataclass(frozen=True)
class Dialect:
    """The words of one of them.

    Attributes:
        realtime: Finds it in the client.
        model: What its users have as the model.
        session: What their code sends first.
    """

    realtime: Callable[[Any], Any]
    model: str
    session: Mapping[str, Any]
    audio_delta: str
    transcript_done: str


DIALECTS = {
    "ga": Dialect(
        realtime=attrgetter("realtime"),
        model="gpt-realtime",
        session={"type": "realtime", "instructions": PIRATE},
        audio_delta="response.output_audio.delta",
        transcript_done="response.output_audio_transcript.done",
    ),
    "beta": Dialect(
        realtime=attrgetter("beta.realtime"),
        model="gpt-4o-realtime-preview",
        session={"modalities": ["audio"], "instructions": PIRATE},
        audio_delta="response.audio.delta",
        transcript_done="response.audio_transcript.done",
    ),
}


def pointed(dialect: str) -> dict[str, str]:
    """Return the client's options that point it at the relay."""
    url = os.environ["RELAY_URL"]
    options = {"base_url": url, "api_key": os.environ["RELAY_KEY"]}
    # Without it the beta client makes wss of http.
    websocket = {"websocket_base_url": url.replace("http", "ws", 1)}
    return options | (websocket if dialect == "beta" else {})
