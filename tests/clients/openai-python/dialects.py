"""The differences between `client.realtime` and `client.beta.realtime` of the package `openai`."""

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
    """One of the two interfaces.

    Attributes:
        realtime: Returns the interface of a client.
        model: The usual model of its users.
        session: The session that their code usually sends first.
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
    """Return the options that make a client connect to the relay."""
    url = os.environ["RELAY_URL"]
    options = {"base_url": url, "api_key": os.environ["RELAY_KEY"]}
    # Without this option the beta client replaces http by wss.
    websocket = {"websocket_base_url": url.replace("http", "ws", 1)}
    return options | (websocket if dialect == "beta" else {})
