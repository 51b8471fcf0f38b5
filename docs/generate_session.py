"""Writes relay/config/session.json from the types of the ``openai`` package."""

import json
from pathlib import Path

from openai.types.realtime.realtime_response_create_params import RealtimeResponseCreateParams
from openai.types.realtime.session_update_event import SessionUpdateEvent
from pydantic.json_schema import models_json_schema

FILE = Path(__file__).parent.parent / "relay" / "config" / "session.json"
MODELS = (RealtimeResponseCreateParams, SessionUpdateEvent)


def session() -> str:
    """Return the JSON Schema of what a client or a persona may set."""
    _, schema = models_json_schema([(model, "validation") for model in MODELS])
    return json.dumps(schema, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(session(), encoding="utf-8")
