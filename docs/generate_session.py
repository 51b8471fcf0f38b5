"""Writes relay/config/session.json from the types of the ``openai`` package."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openai.types.realtime.realtime_response_create_params import RealtimeResponseCreateParams
from openai.types.realtime.session_update_event import SessionUpdateEvent
from pydantic.json_schema import models_json_schema

FILE = Path(__file__).parent.parent / "relay" / "config" / "session.json"
MODELS = (RealtimeResponseCreateParams, SessionUpdateEvent)
WIDTH = 100
"""Columns of a line of the file."""

Schema = Mapping[str, Any]


def session() -> str:
    """Return the text of the file: a JSON Schema of the sessions and the responses."""
    _, schema = models_json_schema([(model, "validation") for model in MODELS])
    return _formatted({"$defs": _each_reduced(schema["$defs"])}) + "\n"


def _reduced(schema: Schema) -> Schema:
    """Return a schema with only the keywords that relay/config/schema.py reads.

    Titles, descriptions and defaults are not among them.
    """
    reduced = {key: schema[key] for key in ("type", "$ref", "const", "enum") if key in schema}
    if "anyOf" in schema:
        reduced["anyOf"] = [_reduced(alternative) for alternative in schema["anyOf"]]
    if "items" in schema:
        reduced["items"] = _reduced(schema["items"])
    if "properties" in schema:
        reduced["properties"] = _each_reduced(schema["properties"])
    elif isinstance(schema.get("additionalProperties"), dict):
        reduced["additionalProperties"] = _reduced(schema["additionalProperties"])
    if "required" in schema:
        reduced["required"] = schema["required"]
    return reduced


def _each_reduced(schemas: Schema) -> Schema:
    return {name: _reduced(schema) for name, schema in schemas.items()}


def _formatted(value: Any, indent: str = "", before: str = "") -> str:
    """Return JSON with one item on each line, except where all items fit on one line."""
    line = f"{before}{json.dumps(value)}"
    if not isinstance(value, (dict, list)) or len(indent) + len(line) < WIDTH:
        return line
    inner = indent + " "
    if isinstance(value, dict):
        items = [_formatted(item, inner, f"{json.dumps(key)}: ") for key, item in value.items()]
    else:
        items = [_formatted(item, inner) for item in value]
    first, last = ("{", "}") if isinstance(value, dict) else ("[", "]")
    lines = f",\n{inner}".join(items)
    return f"{before}{first}\n{inner}{lines}\n{indent}{last}"


if __name__ == "__main__":
    FILE.write_text(session(), encoding="utf-8")
