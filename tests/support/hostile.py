"""Messages of a hostile peer: a corpus of known tricks, and strategies that find more."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st
from playbook import INSTRUCTIONS

from relay.core.events import CLIENT_EVENTS

APPEND = b'{"type":"input_audio_buffer.append","audio":"AAAA"}'
UPDATE = '{"type":"session.update","session":{"instructions":"x"}}'

CORPUS: Sequence[bytes] = (
    b'{"type":"input_audio_buffer.append","audio":"","type":"session.update","session":{}}',
    rb'{"\u0074ype":"session.update","session":{"instructions":"x"}}',
    rb'{"type":"input_audio_buffer.append","audio":"AAAA","t\u0079pe":"session.update"}',
    b'{"type":"input_audio_buffer.append","audio":"AAAA","Type":"session.update"}',
    b'{"TYPE":"session.update","type":"input_audio_buffer.append","audio":"AAAA"}',
    rb'{"type":"input_audio_buffer.append","audio":"AA\"},\"type\":\"session.update\""}',
    rb'{"type":"input_audio_buffer.append","audio":"\/\/\/\/"}',
    b'{"type":"input_audio_buffer.append","audio":"AAAA","event_id":null,"event_id":"x"}',
    b'{"type":"input_audio_buffer.append","audio":"AAAA","event_id":"type"}',
    b'{"event_id":"type","audio":"type","type":"input_audio_buffer.append"}',
    b'{"session":{"instructions":"x"},"type":"session.update"}',
    b'{"type":"response.create","response":{"instructions":"x","tools":[{"type":"mcp"}]}}',
    b'{"type":"conversation.item.create","item":{"type":"message","role":"system","content":[]}}',
    b'{"type":"conversation.item.create","item":{"type":["message"],"role":{"user":1}}}',
    b'{"type":"conversation.item.create","item":{"type":"function_call_output","call_id":[]}}',
    b'{"type":"conversation.item.retrieve","item_id":["item_1"]}',
    b'{"type":["session.update"]}',
    b'{"type":null}',
    b'{"type":{}}',
    b'{"type":1}',
    b'{"type":true}',
    b"[]",
    b"42",
    b'"x"',
    b"null",
    b"",
    b" ",
    b"\x00",
    b'{"type":"session.update"}{"type":"x"}',
    APPEND + b"x",
    APPEND + b"\x00",
    APPEND + APPEND,
    APPEND[:-1],
    APPEND[:-1] + b",}",
    b"\xef\xbb\xbf" + APPEND,
    b"\xef\xbb\xbf" + UPDATE.encode(),
    UPDATE.encode("utf-16"),
    UPDATE.encode("utf-16-le"),
    UPDATE.encode("utf-32"),
    b"/**/" + APPEND,
    APPEND + b"// x",
    b'{"type":"input_audio_buffer.append","audio":"AAAA","event_id":"\xff"}',
    b'{"type":"input_audio_buffer.append","audio":"AAAA","event_id":"\xed\xa0\x80"}',
    b'{"type":"input_audio_buffer.append","audio":"AAAA","event_id":"\xc0\xa2"}',
    b'{"type":"input_audio_buffer.append","audio":"AAAA","event_id":"a\nb"}',
    '{"type":"input_audio_buffer.append","audio":"AAAA","event_id":"\x7f\u2028"}'.encode(),
    b'{type:"input_audio_buffer.append",audio:"AAAA"}',
    b"{'type':'session.update'}",
    rb'{"type":"response.cancel","event_id":"\ud800"}',
    rb'{"type":"response.cancel","\ud83d":"\ude00"}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"type":"session.update","session":' + b"[" * 500 + b"]" * 500 + b"}",
    b'{"type":"session.update","a":' + b"9" * 5000 + b"}",
    b'{"type":"session.update","a":1e999}',
    b'{"type":"session.update","a":-0}',
    b'{"type":"session.update","a":1e-400}',
    b'{"type":"session.update","a":NaN}',
    b'{"type":"session.update","a":Infinity}',
    b'{"type":"session.update","a":0x10}',
    b'{"type":"__proto__"}',
    b'{"__proto__":{"type":"session.update"},"type":"response.cancel"}',
    rb'{"type":"x\n2026 INFO admin logged in\u001b[2J"}',
    b'{"type":"' + b"x" * 1_000_000 + b'"}',
    b'{"type":"response.cancel","event_id":"' + b"x" * 1_000_000 + b'"}',
    b"{" + b",".join(b'"%d":0' % n for n in range(30_000)) + b"}",
    b"[" + b"{}," * 500_000 + b"{}]",
)

TYPES = sorted(CLIENT_EVENTS | {"session.close", "transcription_session.update", "x"})
KEYS = (
    *("type", "Type", "TYPE", "tYpe", "audio", "Audio", "event_id", "Event_Id", "session"),
    *("\u017fession", "Session", "response", "item", "instructions", "metadata", "role", "content"),
    *("item_id", "call_id", "output", "", "type\x00"),
)
TEMPLATES: Sequence[dict[str, Any]] = (
    {"type": "input_audio_buffer.append", "audio": "AAAA"},
    {"type": "input_audio_buffer.append", "audio": "AAA=", "event_id": "e"},
    {"type": "response.create", "response": {"metadata": {"a": "b"}, "output_modalities": []}},
    {"type": "session.update", "session": {"audio": {"output": {"voice": "ash", "speed": 1}}}},
    {
        "type": "conversation.item.create",
        "item": {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "x"},
                {"type": "input_audio", "audio": "AAAA"},
            ],
        },
    },
    {
        "type": "conversation.item.create",
        "item": {"type": "function_call_output", "call_id": "call_1", "output": "{}"},
    },
    {
        "type": "conversation.item.truncate",
        "item_id": "item_1",
        "content_index": 0,
        "audio_end_ms": 1,
    },
    {"type": "conversation.item.delete", "item_id": "item_1"},
    {"type": "response.cancel"},
)

_NUMBERS = st.sampled_from(["-0", "-0.0", "1e-400", "1e999", "9007199254740993", "NaN", "9" * 400])
_TEXT = st.one_of(st.sampled_from(TYPES), st.sampled_from(KEYS), st.text(max_size=8))


@st.composite
def spelled(draw: st.DrawFn, text: str) -> str:
    """Draw a JSON notation of a string: plain, or with some characters escaped."""
    plain = json.dumps(text, ensure_ascii=draw(st.booleans()))
    if not text.isascii() or not text.isprintable() or not draw(st.booleans()):
        return plain
    at = draw(st.integers(0, max(0, len(text) - 1)))
    head, letter, tail = (
        json.dumps(part)[1:-1] for part in (text[:at], text[at:][:1], text[at + 1 :])
    )
    return f'"{head}\\u{ord(text[at]):04x}{tail}"' if letter else plain


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """Draw a value as JSON, with spaces, escapes, and extra pairs in its objects."""
    gap = draw(st.sampled_from(["", "", " ", "\n"]))
    if isinstance(value, dict):
        pairs = [(draw(spelled(key)), draw(written(item))) for key, item in value.items()]
        pairs += draw(st.lists(_extra_pairs, max_size=2))
        shuffled = draw(st.permutations(pairs)) if draw(st.booleans()) else pairs
        return "{" + f",{gap}".join(f"{key}:{gap}{item}" for key, item in shuffled) + gap + "}"
    if isinstance(value, list):
        return "[" + f",{gap}".join(draw(written(item)) for item in value) + "]"
    return draw(spelled(value)) if isinstance(value, str) else json.dumps(value)


anything: st.SearchStrategy[str] = st.one_of(
    _TEXT.flatmap(spelled),
    _NUMBERS,
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | _TEXT,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=3)
        ),
        max_leaves=6,
    ).map(json.dumps),
)

_SCRAPS: Sequence[bytes] = (
    *(b'"', b"\\", b",", b":", b"{", b"}", b"A", b"=", b" ", b"\n", b"\x00", b"\xff", b"//", b""),
    *(b'"type":"session.update"', b',"Type":"session.update"', b'"event_id":"x",', b"\\u0041"),
)


_extra_pairs = st.tuples(st.sampled_from(KEYS).flatmap(spelled), anything)


@st.composite
def near_appends(draw: st.DrawFn) -> bytes:
    """Draw an append with a few changed bytes."""
    raw = draw(st.sampled_from(TEMPLATES[:2]).flatmap(written)).encode("utf-8", "surrogatepass")
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.sampled_from(_SCRAPS)) + raw[at + draw(st.integers(0, 2)) :]
    return raw


messages: st.SearchStrategy[bytes] = st.one_of(
    st.sampled_from(TEMPLATES).flatmap(written).map(lambda text: text.encode("utf-8", "replace")),
    near_appends(),
    anything.map(lambda text: text.encode("utf-8", "replace")),
    st.binary(max_size=64),
)
"""Messages of a hostile client."""

# Messages of an upstream, with the persona or the account in them.

_SECRETS: dict[str, Any] = {
    "instructions": INSTRUCTIONS,
    "tools": [{"type": "mcp", "server_url": "https://PLANTED", "authorization": "PLANTED"}],
    "tool_choice": {"type": "function", "name": "PLANTED"},
    "prompt": {"id": "PLANTED"},
    "tracing": {"metadata": {"x": "PLANTED"}},
    "keywords": ["PLANTED"],
    "client_secret": {"value": "PLANTED"},
}
_HIDDEN_ITEMS: Sequence[dict[str, Any]] = (
    {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "PLANTED"}]},
    {"type": "mcp_list_tools", "server_label": "PLANTED", "tools": [{"name": "PLANTED"}]},
    {"type": "mcp_call", "name": "PLANTED", "arguments": "PLANTED", "output": "PLANTED"},
    {"type": "mcp_approval_request", "name": "PLANTED", "arguments": "PLANTED"},
)
_SHOWN_ITEMS: Sequence[dict[str, Any]] = (
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]},
    {"type": "function_call", "call_id": "call_1", "name": "hours", "arguments": "{}"},
)
_CODES = st.sampled_from(
    ["invalid_value", "unknown_parameter", "insufficient_quota", "server_error", None, "PLANTED!"]
) | st.lists(st.just("PLANTED"), max_size=1)

_secrets = st.sets(st.sampled_from(sorted(_SECRETS))).map(
    lambda names: {name: _SECRETS[name] for name in names}
)
_objects = st.recursive(
    _secrets,
    lambda inner: st.builds(
        lambda secrets, name, part: secrets | {name: part},
        _secrets,
        st.sampled_from(["audio", "input", "transcription", "agent", "turn_detection", "x"]),
        inner | st.lists(inner, max_size=2),
    ),
    max_leaves=4,
)
_quotes = st.builds(
    lambda start, length: f"Invalid value: '{INSTRUCTIONS[start : start + length]}'",
    st.integers(0, 20),
    st.integers(24, 60),
)
_errors = st.fixed_dictionaries(
    {"type": st.sampled_from(["invalid_request_error", "server_error"]), "code": _CODES},
    optional={
        "message": _quotes | st.just("Your key sk-PLANTED is wrong."),
        "param": st.sampled_from(["session.instructions", "PLANTED?"]),
        "event_id": st.sampled_from(["e1", None]) | st.just({"x": "PLANTED"}),
        "detail": st.just("PLANTED"),
    },
)
_details = (
    _quotes
    | st.none()
    | st.fixed_dictionaries(
        {"type": st.sampled_from(["failed", "cancelled"])},
        optional={"error": _errors | _quotes, "reason": _quotes | st.just("turn_detected")},
    )
)
_responses = st.builds(
    lambda response, output, details: response | {"output": output, "status_details": details},
    _objects,
    st.lists(st.sampled_from([*_HIDDEN_ITEMS, *_SHOWN_ITEMS]), max_size=3),
    _details,
)


def _events(
    types: Sequence[str], name: str, part: st.SearchStrategy[Any]
) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {"type": st.sampled_from(types), "event_id": st.just("event_1"), name: part}
    )


def _as_bytes(event: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Draw an order of an event's keys."""
    return st.sampled_from(
        [json.dumps(event).encode(), json.dumps(dict(reversed(event.items()))).encode()]
    )


SERVER_EVENTS: Mapping[str, st.SearchStrategy[bytes]] = {
    kind: events.flatmap(_as_bytes)
    for kind, events in {
        "sessions": _events(
            ["session.created", "session.updated", "transcription_session.updated"],
            "session",
            _objects,
        ),
        "responses": _events(["response.created", "response.done"], "response", _responses),
        "items": _events(
            [
                "conversation.item.created",
                "conversation.item.added",
                "conversation.item.done",
                "conversation.item.retrieved",
                "response.output_item.added",
                "response.output_item.done",
            ],
            "item",
            st.sampled_from([*_HIDDEN_ITEMS, *_SHOWN_ITEMS]),
        ),
        "errors": _events(
            ["error", "conversation.item.input_audio_transcription.failed"], "error", _errors
        ),
        "errors in one string": _events(["error"], "error", _quotes),
        "the rest": _events(
            ["rate_limits.updated", "mcp_list_tools.completed", "response.mcp_call_arguments.done"],
            "arguments",
            st.just("PLANTED"),
        ),
    }.items()
}
"""Every kind of server event that can contain words of the persona or the account."""

server_events: st.SearchStrategy[bytes] = st.one_of(*SERVER_EVENTS.values())
