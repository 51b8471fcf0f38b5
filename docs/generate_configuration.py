"""Writes configuration.md from the models of the configuration, its only source."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from relay.config.models import Config
from relay.yaml.source import KeyPath

FILE = Path(__file__).parent / "configuration.md"

INTRODUCTION = """\
<!-- Written by docs/generate_configuration.py from the models in relay/config. -->
# Configuration

The relay reads one YAML file, `relay.yaml`, and a folder of personas beside it.
`relay check` names every problem in them with its file and line, and prints no secret.

- Unknown keys, repeated keys and values of a wrong type are errors: the relay does not start.
- `${NAME}` in a value reads the environment; a variable that is not set is an error.
  `${NAME:-default}` has a default for a variable that is not set or empty.
  A value from the environment is text, never YAML.
  `$${` stands for `${` itself.
  In instructions and descriptions, a `${` without a name stays as it is.
- Inside `[ ]` and `{ }`, YAML requires quotes: `["${NAME}"]`.
- The files are YAML 1.2 in UTF-8, without aliases and tags.
- Relative paths start at the folder of `relay.yaml`.

`NAME` stands for a name of your choice.
"""

LOADED = {"Config": {"file"}, "Persona": {"name"}}
"""Fields of the models that are not keys of the files."""

PERSONA = ("personas", "*")
"""The path of the section with files of its own."""

WORDS = {
    "array": "list",
    "boolean": "true or false",
    "folder": "folder",
    "integer": "whole number",
    "null": "null",
    "number": "number",
    "object": "mapping",
    "password": "secret",
    "path": "path",
    "seconds": "seconds",
    "string": "text",
    "usd": "USD",
}
"""Plain words for the types and formats of JSON Schema."""

BOUNDS = {"ge": "at least", "gt": "above", "le": "at most"}
"""Plain words for the bounds of a number."""

Schema = Mapping[str, Any]


def reference() -> str:
    """Return the whole page."""
    schema = Config.model_json_schema()
    relay = _sections(schema, schema, ())
    personas = _sections(schema, schema["$defs"]["Persona"], PERSONA)
    return "\n".join([INTRODUCTION, *relay, *personas])


def _sections(root: Schema, section: Schema, path: KeyPath) -> Iterator[str]:
    """Yield the table of a section's keys, then the sections in it."""
    loaded = LOADED.get(section["title"], set())
    keys = {name: key for name, key in section["properties"].items() if name not in loaded}
    yield f"{_heading(path)}\n\n{_line(section['description'])}\n"
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    for name, key in keys.items():
        yield _row((*path, name), key, required=name in section.get("required", ()))
    yield ""
    for name, key in keys.items():
        for steps, inner in _inner(root, key):
            if (*path, name, *steps) != PERSONA:
                yield from _sections(root, inner, (*path, name, *steps))


def _heading(path: KeyPath) -> str:
    if path == ():
        return "## relay.yaml"
    if path == PERSONA:
        return "## personas/NAME.yaml"
    keys = path[2:] if path[:2] == PERSONA else path
    return f"### `{'.'.join(map(str, keys)).replace('*', 'NAME').replace('.[]', '[]')}`"


def _inner(root: Schema, key: Schema) -> Iterator[tuple[KeyPath, Schema]]:
    """Yield the sections that a key holds, with the steps from the key to them."""
    if "$ref" in key:
        yield (), root["$defs"][key["$ref"].rpartition("/")[2]]
    for alternative in key.get("anyOf", ()):
        yield from _inner(root, alternative)
    for step, several in {"[]": "items", "*": "additionalProperties"}.items():
        if isinstance(key.get(several), dict):
            yield from (((step, *steps), inner) for steps, inner in _inner(root, key[several]))


def _row(path: KeyPath, key: Schema, *, required: bool) -> str:
    default = "**required**" if required else _default(key)
    meaning = _line(key.get("description", "See below."))
    return f"| `{path[-1]}` | {_type(key)} | {default} | {meaning} |"


def _default(key: Schema) -> str:
    if "$ref" in key:
        return ""
    value = key.get("default", {})
    return f"`{value if isinstance(value, str) and value else json.dumps(value)}`"


def _type(key: Schema) -> str:
    """Return the type of a value in words, such as ``whole number (at least 1) or null``."""
    if key.get("format") in WORDS:
        return WORDS[key["format"]] + _bounds(key)
    if "anyOf" in key:
        return " or ".join(dict.fromkeys(map(_type, key["anyOf"]))) + _bounds(key)
    if "enum" in key:
        return " or ".join(f"`{value}`" for value in key["enum"])
    if key.get("one_or_more"):
        return f"{_type(key['items'])}, or a list"
    if key.get("type") == "array" and "$ref" not in key["items"]:
        return f"list of {_type(key['items'])}"
    return WORDS[key.get("type", "object")] + _bounds(key)


def _bounds(key: Schema) -> str:
    bounds = [f"{words} {key[bound]}" for bound, words in BOUNDS.items() if bound in key]
    return f" ({', '.join(bounds)})" if bounds else ""


def _line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
