"""Writes relay/dialects/beta/vocabulary.json from the beta types of the ``openai`` package."""

import json
from pathlib import Path
from typing import Any, get_args

from openai.types.beta.realtime import (
    ConversationItemCreateEvent,
    RealtimeServerEvent,
    ResponseCreateEvent,
    SessionCreateResponse,
    SessionUpdateEvent,
    TranscriptionSession,
    TranscriptionSessionUpdate,
)
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

FILE = Path(__file__).parent.parent / "relay" / "dialects" / "beta" / "vocabulary.json"

SERVER_EVENTS: tuple[type[BaseModel], ...] = get_args(get_args(RealtimeServerEvent)[0])
CLIENT_EVENTS = (
    ConversationItemCreateEvent,
    ResponseCreateEvent,
    SessionUpdateEvent,
    TranscriptionSessionUpdate,
)
"""The client events that have another shape in GA."""

MINTED_SESSIONS = (SessionCreateResponse, TranscriptionSession)

NOT_READ = frozenset({"title", "description", "default", "additionalProperties"})
"""Keywords that the relay reads only where they hold a schema."""

MODULES = "openai__types__beta__realtime__"
"""Pydantic puts the module before a name that two types have."""


def vocabulary() -> str:
    """Return the JSON Schema of the types, with a table of the types for each use."""
    models = [*SERVER_EVENTS, *CLIENT_EVENTS, *MINTED_SESSIONS]
    refs, schema = models_json_schema([(model, "validation") for model in models])
    tables = {
        "server_events": {_kind(model): refs[model, "validation"] for model in SERVER_EVENTS},
        "client_events": {_kind(model): refs[model, "validation"] for model in CLIENT_EVENTS},
        "minted_sessions": {m.__name__: refs[m, "validation"] for m in MINTED_SESSIONS},
    }
    text = json.dumps({**tables, "$defs": _without_texts(schema["$defs"])}, indent=1)
    return text.replace(MODULES, "") + "\n"


def _kind(event: type[BaseModel]) -> str:
    """Return the ``type`` of an event."""
    (kind,) = get_args(event.model_fields["type"].annotation)
    return kind


def _without_texts(value: Any) -> Any:
    """Return a part of a schema without the keywords that the relay does not read."""
    match value:
        case dict():
            return {
                name: _without_texts(member)
                for name, member in value.items()
                if name not in NOT_READ or isinstance(member, dict)
            }
        case list():
            return list(map(_without_texts, value))
    return value


if __name__ == "__main__":
    FILE.write_text(vocabulary(), encoding="utf-8")
