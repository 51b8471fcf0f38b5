"""Servers with differences from the protocol: missing fields and other shapes do no harm."""

from pathlib import Path
from typing import Any

import pytest
from fakes import Call, FakeUpstream
from openai.types.realtime import RealtimeErrorEvent
from playbook import start, to_client
from relays import receive, running_relay, send, write_config

TOO_SMALL = "Error committing input audio buffer: it is too small."
INVALID = "A value in the event is not valid."


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ({"error": "Invalid model", "code": "model_not_found"}, "model_not_found", None),
        ({"error": "Too short.", "code": "input_audio_buffer_commit_empty"}, ..., TOO_SMALL),
        (
            {"error": "Your key sk-PLANTED is wrong", "code": "invalid_value"},
            "invalid_value",
            INVALID,
        ),
        ({"error": "processing failed", "code": 500}, None, None),
        ({"error": ["no"], "code": {"a": 1}}, None, None),
        ({"error": None}, None, None),
        ({}, None, None),
        ({"error": {}}, None, None),
        ({"error": {"message": 5, "code": "invalid_value"}}, "invalid_value", INVALID),
    ],
)
def test_an_error_of_any_shape_reaches_the_client_in_the_shape_of_the_api(
    error: dict[str, Any], code: Any, message: str | None
) -> None:
    """The message is the sentence of the code, as in the API's own shape."""
    ((to, event),) = start().upstream(type="error", event_id="event_1", **error)  # type: ignore[misc]  # a pair, here

    assert to == "client"
    assert event["error"] == {
        "type": "server_error",
        "code": error["code"] if code is ... else code,
        "message": message or "The upstream reported an error.",
        "param": None,
        "event_id": None,
    }
    RealtimeErrorEvent.model_validate(event, strict=True)


def test_rewritten_events_get_an_id_if_they_have_none() -> None:
    play = start()

    ((_, updated),) = play.upstream(type="session.updated", session={})  # type: ignore[misc]
    ((_, kept),) = play.upstream(type="session.updated", event_id="event_7", session={})  # type: ignore[misc]

    assert updated["event_id"] == "relay_1"
    assert updated["session"]["id"] == "sess_1"
    assert kept["event_id"] == "event_7"


def test_a_response_without_usage_is_recorded_as_unknown() -> None:
    play = start()

    usages: tuple[Any, ...] = ({}, None, {"input_token_details": None}, [], "none")
    for number, usage in enumerate(usages):
        response = {"id": f"resp_{number}", "status": "completed", "usage": usage}
        assert play.upstream(type="response.done", response=response) == [
            to_client(type="response.done", response=response)
        ]

    assert [report.unknown for report in play.recorded] == [True, True, False, True, True]
    assert play.session.counts.tokens.by_kind() == {}


async def sends_the_minimum(call: Call) -> None:
    """Send only the events that every known server sends."""
    await call.send({"type": "conversation.created"})
    update = await call.receive()
    await call.send({"type": "session.created"})
    await call.send({"type": "ping"})
    await call.send({"type": "session.updated", "session": {"voice": update["session"]["voice"]}})
    while (await call.receive())["type"] != "response.create":
        pass
    await call.send({"type": "response.created", "response": {}})
    await call.send({"type": "response.output_audio.delta", "delta": "AAAA"})
    await call.send({"type": "error", "error": "slow down", "code": "busy"})
    await call.send({"type": "response.done", "response": {"usage": {}}})
    await call.listen()


async def test_a_session_with_a_server_that_sends_only_the_minimum(tmp_path: Path) -> None:
    persona = """
        upstream: fake
        session: {model: grok-voice, instructions: The canary is PLANTED-PROMPT., voice: eve}
    """
    async with FakeUpstream(sends_the_minimum).running() as upstream:
        path = write_config(tmp_path, upstream.url, personas={"receptionist": persona})
        fields = "sk-PLANTED-KEY, provider: compatible, extra_session_fields: [voice]"
        path.write_text(path.read_text().replace("sk-PLANTED-KEY", fields))
        async with running_relay(path) as relay:
            async with relay.connect() as client:
                created = await receive(client)
                await send(client, type="response.create")
                kinds = [(await receive(client))["type"] for _ in range(4)]
            line = await relay.ended()

    assert "voice" not in created["session"]
    assert created["session"]["id"] == line["session_id"]
    assert kinds == ["response.created", "response.output_audio.delta", "error", "response.done"]
    assert (line["outcome"], line["unknown"], line["upstream_errors"]) == (
        "completed",
        1,
        {"other": 1},
    )
    assert len(upstream.calls[0].received) == 2
