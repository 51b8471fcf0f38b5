"""Fields of an upstream's own, and the names of the fields that clients lose, over sockets."""

from pathlib import Path
from typing import Any

import pytest
from fakes import Call, FakeUpstream
from relays import receive, running_relay, send, write_config

from relay.access.auth import ANONYMOUS, Principal
from relay.config.loading import load
from relay.endpoints import credentials

OWN = "extra_session_fields: [smooth_output, audio.output.mood]"
PERSONA = """
    upstream: fake
    session:
      model: gpt-realtime-2.1
      instructions: You are the receptionist.
      smooth_output: PLANTED
      audio: {output: {voice: marin, mood: PLANTED}}
"""
OPENS = "    client: {session: [smooth_output, audio.output.mood]}\n"


def config_path(tmp_path: Path, url: str, persona: str = PERSONA, settings: str = "") -> Path:
    return write_config(tmp_path, url, settings, {"receptionist": persona}, OWN)


async def repeats_the_session(call: Call) -> None:
    await call.open()
    session = call.received[0]["session"]
    while (event := await call.receive())["type"] != "response.create":
        pass
    await call.send({"type": "response.created", "response": {"id": "resp_1", **session}})
    await call.send({"type": "session.resumed", "event_id": "x", "session": session})
    await call.send({"type": "response.done", "response": {"id": "resp_1", "metadata": event}})
    await call.listen()


@pytest.mark.parametrize("protocol", ["realtime", "openai-beta.realtime-v1"])
async def test_a_client_never_sees_the_fields_of_an_upstreams_own(
    tmp_path: Path, protocol: str
) -> None:
    async with FakeUpstream(repeats_the_session).running() as upstream:
        async with running_relay(config_path(tmp_path, upstream.url)) as relay:
            async with relay.connect(subprotocols=["realtime", protocol]) as client:
                received = [await receive(client)]
                await send(client, type="session.update", session={"smooth_output": 1})
                await send(client, type="response.create")
                while received[-1]["type"] != "response.done":
                    received.append(await receive(client))

    assert upstream.calls[0].received[0]["session"]["smooth_output"] == "PLANTED"
    assert [event["type"] for event in upstream.calls[0].received] == [
        "session.update",
        "response.create",
    ]
    assert "PLANTED" not in repr(received)
    assert "smooth_output" not in repr(received)


async def test_a_client_sees_the_fields_of_an_upstreams_own_that_the_persona_opens(
    tmp_path: Path,
) -> None:
    async with FakeUpstream().running() as upstream:
        path = config_path(tmp_path, upstream.url, PERSONA + OPENS)
        async with running_relay(path) as relay, relay.connect() as client:
            session = (await receive(client))["session"]

    assert (session["smooth_output"], session["audio"]["output"]["mood"]) == ("PLANTED",) * 2


@pytest.mark.parametrize(
    "answer",
    [credentials.client_secret, credentials.session, credentials.transcription_session],
)
def test_the_answer_with_a_credential_does_not_show_them(tmp_path: Path, answer: Any) -> None:
    secrets = "secrets: {signing_keys: [0123456789abcdef0123456789abcdef]}\n"
    shown, caller = {}, Principal(ANONYMOUS)
    for name, persona in {"closed": PERSONA, "opened": PERSONA + OPENS}.items():
        folder = tmp_path / name
        folder.mkdir()
        config = load(config_path(folder, "http://127.0.0.1:1/v1", persona, secrets), {})
        shown[name] = repr(answer({"persona": "receptionist"}, caller, config, 1_800_000_000))

    assert "PLANTED" not in shown["closed"]
    assert ("PLANTED" in shown["opened"]) == (answer is credentials.client_secret)


async def test_the_relay_names_the_fields_that_it_left_out(tmp_path: Path) -> None:
    async with FakeUpstream().running() as upstream:
        async with running_relay(config_path(tmp_path, upstream.url)) as relay:
            async with relay.connect(subprotocols=["realtime", "relay.events"]) as client:
                await receive(client)
                audio = {"output": {"voice": "SENT", "mood": "SENT"}}
                session = {"instructions": "SENT", "audio": audio, "SENT": 1}
                await send(client, type="session.update", session=session)
                ignored, updated = await receive(client), await receive(client)
                await send(client, type="response.create", response={"instructions": "SENT"})
                ignored_again = await receive(client)
            line = await relay.ended()

    assert ignored.pop("event_id").startswith("relay_")
    assert ignored == {
        "type": "relay.fields_ignored",
        "event_type": "session.update",
        "fields": ["instructions", "audio.output.voice", "other"],
    }
    assert updated["type"] == "session.updated"
    assert ignored_again["event_type"] == "response.create"
    assert ignored_again["fields"] == ["instructions"]
    assert line["stripped_fields"] == ["instructions", "audio.output.voice", "other"]
    assert "SENT" not in relay.logged.getvalue()
