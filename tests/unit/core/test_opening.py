"""Tests of the opening of a session at the upstream."""

import json
from typing import Any

import pytest

from relay.core.commands import Send, Side
from relay.core.errors import PersonaRejected, RelayError, UpstreamRefused, UpstreamUnavailable
from relay.core.events import MAX_SERVER_VALUES
from relay.core.messages import Binary
from relay.core.opening import Opened, Opening

PERSONA = {"type": "realtime", "instructions": "You are a receptionist."}
UPDATE = Send(
    Side.UPSTREAM,
    b'{"type":"session.update","event_id":"relay_1_update","session":'
    b'{"type":"realtime","instructions":"You are a receptionist."}}',
)


def event(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


CREATED, UPDATED = event(type="session.created"), event(type="session.updated", session={"id": "s"})


def opening(*, asked: bool = False) -> Opening:
    begun = Opening(PERSONA, "relay_1_")
    if asked:
        begun.receive(CREATED)
    return begun


def test_the_persona_is_the_first_event_for_the_upstream() -> None:
    begun = Opening(PERSONA, "relay_1_")

    assert [begun.receive(raw) for raw in (CREATED, CREATED, UPDATED)] == [
        UPDATE,
        None,
        Opened({"id": "s"}),
    ]


@pytest.mark.parametrize(
    "raw",
    [
        UPDATED,
        event(type="rate_limits.updated"),
        event(type="response.output_audio.delta", delta="AAAA"),
        event(type="what.is.not.known.yet"),
    ],
)
def test_nothing_else_opens_a_session(raw: bytes) -> None:
    assert opening().receive(raw) is None


def test_a_confirmation_without_a_session_is_valid() -> None:
    assert opening(asked=True).receive(event(type="session.updated", session=1)) == Opened({})


MANY_VALUES = b'{"type":"session.created","a":[' + b"[]," * MAX_SERVER_VALUES + b"0]}"


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"\xff", Binary(CREATED), b'{"type":"x","a":1e999}', MANY_VALUES]
)
def test_a_message_that_is_not_an_event_is_a_failure_of_the_upstream(raw: bytes) -> None:
    with pytest.raises(UpstreamUnavailable) as failed:
        opening().receive(raw)

    assert failed.value.detail == "the upstream sent a message that is no event"


@pytest.mark.parametrize(
    ("asked", "error", "meaning"),
    [
        (False, {"code": "invalid_api_key"}, UpstreamRefused),
        (False, {"code": "invalid_value"}, UpstreamRefused),
        (False, "no", UpstreamRefused),
        (False, {"code": "rate_limit_exceeded"}, UpstreamUnavailable),
        (True, {"code": "inference_rate_limit_exceeded"}, UpstreamUnavailable),
        (True, {"type": "server_error", "code": None}, UpstreamUnavailable),
        (True, {"code": "insufficient_quota"}, UpstreamRefused),
        (True, {"code": "unknown_parameter", "param": "session.x"}, PersonaRejected),
        (True, {"code": None}, PersonaRejected),
        (True, {"code": ["invalid_api_key"]}, PersonaRejected),
        (True, "no", PersonaRejected),
    ],
)
def test_the_meaning_of_an_error_depends_on_its_code_and_time(
    asked: bool,  # noqa: FBT001  # a column of the table
    error: Any,
    meaning: type[RelayError],
) -> None:
    with pytest.raises(meaning):
        opening(asked=asked).receive(event(type="error", error=error))


def test_the_text_of_the_upstream_is_for_the_log_only() -> None:
    error = {"code": "unknown_parameter", "param": "session.x", "message": "Unknown: 'x'."}

    with pytest.raises(PersonaRejected) as refused:
        opening(asked=True).receive(event(type="error", error=error))

    assert refused.value.detail == "unknown_parameter (param session.x): Unknown: 'x'."
    assert str(refused.value) == PersonaRejected.message


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (3000, UpstreamRefused),
        (4000, UpstreamRefused),
        (1000, UpstreamUnavailable),
        (1006, UpstreamUnavailable),
        (1011, UpstreamUnavailable),
    ],
)
def test_the_meaning_of_a_close_depends_on_its_code(code: int, meaning: type[RelayError]) -> None:
    lost = opening().closed(code, "a reason")

    assert type(lost) is meaning
    assert lost.detail == f"the upstream closed with {code} a reason"
    assert opening().closed(1006, "").detail == "the upstream closed with 1006"


TOOL = {"type": "function", "name": "hours", "description": "When we are open.", "parameters": {}}
MCP = {"type": "mcp", "server_label": "s", "server_url": "https://x", "authorization": "secret"}
EQUIPPED = {**PERSONA, "tools": [TOOL, MCP]}


@pytest.mark.parametrize(
    "confirmed",
    [
        {},
        {"instructions": None, "tools": None},
        {"instructions": "You are a receptionist.\n"},
        {"tools": [{**TOOL, "strict": False}, {**MCP, "authorization": None}]},
        {"tools": [{"type": "function", "name": "hours"}, {"type": "mcp", "server_label": "s"}]},
    ],
)
def test_a_confirmation_may_omit_and_add_fields(confirmed: Any) -> None:
    begun = Opening(EQUIPPED, "relay_1_")
    begun.receive(CREATED)

    assert begun.receive(event(type="session.updated", session=confirmed)) == Opened(confirmed)


@pytest.mark.parametrize(
    ("confirmed", "detail"),
    [
        ({"instructions": "You are a helpful assistant."}, "other instructions"),
        ({"instructions": ""}, "other instructions"),
        ({"instructions": ["You are a receptionist."]}, "other instructions"),
        ({"tools": []}, "other tools"),
        ({"tools": [TOOL]}, "other tools"),
        ({"tools": [{**TOOL, "name": "other"}, MCP]}, "other tools"),
        ({"tools": [TOOL, "x"]}, "other tools"),
        ({"tools": "x"}, "other tools"),
    ],
)
def test_a_server_that_confirms_another_persona_is_rejected(confirmed: Any, detail: str) -> None:
    """It ignored the update, so its default prompt would answer."""
    begun = Opening(EQUIPPED, "relay_1_")
    begun.receive(CREATED)

    with pytest.raises(PersonaRejected) as rejected:
        begun.receive(event(type="session.updated", session=confirmed))
    assert rejected.value.detail == f"the upstream confirmed {detail}"


def test_a_session_that_only_transcribes_has_no_prompt_to_compare() -> None:
    begun = Opening({"type": "transcription"}, "relay_1_")
    begun.receive(CREATED)

    confirmed = {"instructions": "You are a default.", "tools": [TOOL]}
    assert begun.receive(event(type="session.updated", session=confirmed)) == Opened(confirmed)


def test_tools_of_a_server_that_are_not_in_the_persona_are_rejected() -> None:
    begun = Opening(PERSONA, "relay_1_")
    begun.receive(CREATED)

    with pytest.raises(PersonaRejected):
        begun.receive(event(type="session.updated", session={"tools": [TOOL]}))
