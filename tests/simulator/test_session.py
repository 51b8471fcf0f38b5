"""The session as a state machine: repeated and late inputs change nothing."""

import base64
import json

from relay.simulator.commands import (
    SendEvent,
    SessionCommand,
    StartResponse,
    StopResponse,
    TranscribeItem,
)
from relay.simulator.response import Response
from relay.simulator.session import SimulatedSession


def _session() -> SimulatedSession:
    session = SimulatedSession(model="local-demo", expires_at=0)
    session.open()
    return session


def _receive(session: SimulatedSession, type_: str, **fields: object) -> list[SessionCommand]:
    return session.receive(json.dumps({"type": type_, **fields}))


def _types(commands: list[SessionCommand]) -> list[str]:
    return [command.event["type"] for command in commands if isinstance(command, SendEvent)]


def _begun(session: SimulatedSession, **fields: object) -> Response:
    commands = _receive(session, "response.create", **fields)
    (response,) = (c.response for c in commands if isinstance(c, StartResponse))
    return response


def test_a_response_ends_once() -> None:
    session = _session()
    response = _begun(session)

    assert _types(session.finish(response, "completed")) == ["response.done", "rate_limits.updated"]
    assert session.finish(response, "failed") == []
    assert session.fail(response.id, {}) == []


def test_a_cancelled_response_is_stopped_after_its_response_done() -> None:
    session = _session()
    response = _begun(session)
    commands = _receive(session, "response.cancel")

    assert _types(commands)[0] == "response.done"
    assert commands[-1] == StopResponse(response)


def test_a_response_waits_for_the_transcript_of_its_input() -> None:
    session = _session()
    content = [{"type": "input_audio", "audio": "AAAA"}]
    item = {"type": "message", "role": "user", "content": content}
    made = _receive(session, "conversation.item.create", item=item)
    (listen,) = (command for command in made if isinstance(command, TranscribeItem))
    asked = _receive(session, "response.create")

    assert _types(asked) == ["response.created"]
    assert not any(isinstance(command, StartResponse) for command in asked)
    assert [type(c) for c in session.item_transcribed(listen.item, listen.index, "hello")] == [
        StartResponse
    ]


def test_a_response_that_is_cancelled_while_it_waits_is_not_started() -> None:
    session = _session()
    content = [{"type": "input_audio", "audio": "AAAA"}]
    item = {"type": "message", "role": "user", "content": content}
    made = _receive(session, "conversation.item.create", item=item)
    (listen,) = (command for command in made if isinstance(command, TranscribeItem))
    _receive(session, "response.create")
    _receive(session, "response.cancel")

    assert session.item_transcribed(listen.item, listen.index, "hello") == []


def test_the_transcript_of_an_earlier_turn_ends_no_turn() -> None:
    assert _session().turn_transcribed("item_of_long_ago", "done.") == []


def test_a_second_running_response_can_fail_alone() -> None:
    session = _session()
    first = _begun(session)
    second = _begun(session, response={"conversation": "none"})

    assert _types(session.fail(second.id, {})) == ["response.done", "rate_limits.updated"]
    assert _types(session.finish(first, "completed"))[0] == "response.done"


def test_an_append_of_more_than_15_mebibytes_is_refused() -> None:
    audio = base64.b64encode(bytes(15 * 2**20 + 3)).decode()
    (refused,) = _receive(_session(), "input_audio_buffer.append", audio=audio)

    assert isinstance(refused, SendEvent)
    assert refused.event["error"]["param"] == "audio"
