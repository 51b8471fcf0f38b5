"""Audio in binary messages, as xAI has it: of compatible upstreams, and of clients by a setting."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType
from fakes import Call, FakeUpstream
from hypothesis import given
from hypothesis import strategies as st
from playbook import PERSONA, Refusal, start
from relays import PERSONA as FILE
from relays import receive, running_relay, send, write_config

from relay.core.client_events import MAX_BINARY_BYTES
from relay.core.commands import End, ObserveFirstAudio, Pause, Send, Side
from relay.core.messages import Binary

BOTH = frozenset(Side)
AUDIO = Binary(bytes(48_000))
"""A second of PCM at 24 kHz, or six of G.711."""


def test_it_passes_in_both_directions_unchanged_and_stays_binary() -> None:
    play = start(binary_audio=BOTH)

    (there,) = play.session.receive(Side.CLIENT, AUDIO, 0)
    (back,) = play.session.receive(Side.UPSTREAM, AUDIO, 0)

    assert (there, back) == (Send(Side.UPSTREAM, AUDIO), Send(Side.CLIENT, AUDIO))
    assert isinstance(there, Send)
    assert isinstance(there.message, Binary)


def test_it_counts_in_the_format_of_the_session() -> None:
    play = start(binary_audio=BOTH)

    play.session.receive(Side.CLIENT, Binary(b""), 0)
    play.session.receive(Side.CLIENT, AUDIO, 0)
    play.session.receive(Side.UPSTREAM, AUDIO, 0)

    assert play.session.counts.audio_seconds_to_upstream == 1
    assert play.session.counts.audio_seconds_to_client == 6


def test_pcm_of_another_rate_counts_by_that_rate() -> None:
    given = {"input": {"format": {"type": "audio/pcm", "rate": 16_000}}}
    play = start(session=PERSONA | {"audio": given}, binary_audio=BOTH)

    play.session.receive(Side.CLIENT, AUDIO, 0)

    assert play.session.counts.audio_seconds_to_upstream == 1.5


def test_the_audio_rate_limits_it() -> None:
    play = start(binary_audio=BOTH, audio_burst_seconds=1)

    assert play.session.receive(Side.CLIENT, AUDIO, 0) == (Send(Side.UPSTREAM, AUDIO),)
    assert play.session.receive(Side.CLIENT, AUDIO, 0)[1] == Pause(0.5)


def test_it_is_the_first_audio_of_an_answer_and_counts_as_activity() -> None:
    play = start(binary_audio=BOTH)
    play.client(type="response.create")

    assert play.session.receive(Side.UPSTREAM, AUDIO, 2) == (
        Send(Side.CLIENT, AUDIO),
        ObserveFirstAudio(2),
    )
    assert play.session.deadline == 2 + 6 + 300


@given(st.binary())
def test_without_the_setting_no_binary_message_passes(raw: bytes) -> None:
    play = start(max_blocked_events=100)

    assert play.receive(Side.CLIENT, Binary(raw)) == [Refusal("invalid_event")]
    (end,) = play.session.receive(Side.UPSTREAM, Binary(raw), 0)
    assert isinstance(end, End)
    assert end.outcome == "upstream_lost"


@pytest.mark.parametrize("side", Side)
def test_one_direction_does_not_open_the_other(side: Side) -> None:
    play = start(binary_audio=frozenset({side}))
    client, upstream = (play.session.receive(s, AUDIO, 0) for s in (Side.CLIENT, Side.UPSTREAM))

    assert (client == (Send(Side.UPSTREAM, AUDIO),)) == (side is Side.CLIENT)
    assert (upstream == (Send(Side.CLIENT, AUDIO),)) == (side is Side.UPSTREAM)


def test_a_text_that_is_not_an_event_is_not_audio() -> None:
    play = start(binary_audio=BOTH)

    (end,) = play.session.receive(Side.UPSTREAM, b"no event", 0)

    assert isinstance(end, End)
    assert play.receive(Side.CLIENT, b"no event") == [Refusal("invalid_event")]


EVENT = '{"type":"session.updated","session":{"instructions":"…"}}'


@pytest.mark.parametrize(
    "raw",
    [
        EVENT.encode(),
        EVENT.encode() + b"\xff",
        EVENT.encode().replace(b"instructions", b"\xffinstructions"),
        EVENT.encode("utf-16"),
        EVENT.encode("utf-32-le"),
        b'{"type":"session.updated","session":' + b"[" * 100_000,
    ],
)
def test_a_binary_message_that_could_be_an_event_does_not_pass(raw: bytes) -> None:
    event = Binary(raw)
    play = start(binary_audio=BOTH)

    assert play.receive(Side.CLIENT, event) == [Refusal("invalid_event")]
    (end,) = play.session.receive(Side.UPSTREAM, event, 0)
    assert isinstance(end, End)
    assert end.outcome == "upstream_lost"


def test_an_event_that_only_a_lenient_reader_finds_passes_in_pieces() -> None:
    play = start(binary_audio=BOTH)
    hidden = Binary(EVENT.encode().replace(b":", b"/*\xff*/:", 1))

    there = play.session.receive(Side.CLIENT, hidden, 0)
    back = play.session.receive(Side.UPSTREAM, hidden, 0)

    for commands, side in ((there, Side.UPSTREAM), (back, Side.CLIENT)):
        sends = [command for command in commands if isinstance(command, Send)]
        pieces = [send.message for send in sends]
        assert {send.to for send in sends} == {side}
        assert b"".join(pieces) == hidden
        assert not any(b"type" in piece for piece in pieces)
    assert play.session.counts.audio_seconds_to_upstream == len(hidden) / 48_000


def test_a_binary_message_of_a_client_has_a_limit() -> None:
    play = start(binary_audio=BOTH, audio_burst_seconds=60)
    longest = Binary(bytes(MAX_BINARY_BYTES))

    assert play.session.receive(Side.CLIENT, longest, 0) == (Send(Side.UPSTREAM, longest),)
    assert play.receive(Side.CLIENT, Binary(longest + b"\0"))[0] == Refusal("invalid_event")


def test_binary_audio_after_the_end_is_not_read() -> None:
    assert start(binary_audio=BOTH).session.record_late(AUDIO, 0) == ()


async def echoes(call: Call) -> None:
    """Open as xAI does, and return binary messages."""
    await call.send({"type": "conversation.created", "conversation": {"id": "conv_1"}})
    await call.receive()
    await call.send({"type": "session.updated", "session": {}})
    async for message in call.socket:
        if message.type is WSMsgType.BINARY:
            await call.send(message.data)


TRANSPORT = "audio: {input: {transport: binary}, output: {transport: binary, voice: marin}}"


def configure(folder: Path, url: str, provider: str) -> Path:
    """Write a configuration with a persona that asks for binary audio."""
    persona = FILE.replace("audio: {output: {voice: marin}}", TRANSPORT)
    path = write_config(folder, url, personas={"receptionist": persona})
    fields = "extra_session_fields: [audio.input.transport, audio.output.transport]"
    more = f"sk-PLANTED-KEY, provider: {provider}, {fields}"
    path.write_text(path.read_text().replace("sk-PLANTED-KEY", more))
    return path


async def test_binary_messages_reach_the_other_side_of_a_compatible_upstream(
    tmp_path: Path,
) -> None:
    async with FakeUpstream(echoes).running() as upstream:
        async with running_relay(configure(tmp_path, upstream.url, "compatible")) as relay:
            async with relay.connect() as client:
                assert (await receive(client))["type"] == "session.created"
                await client.send(bytes(range(256)))
                assert await client.recv() == bytes(range(256))
            line = await relay.ended()

    assert line["audio_seconds_to_upstream"] == line["audio_seconds_to_client"] == 0.005
    assert line["upstream_session_id"] == ""


async def test_a_clients_binary_messages_pass_only_with_the_personas_setting(
    tmp_path: Path,
) -> None:
    async def sends_binary(call: Call) -> None:
        await call.open()
        await call.send(b"audio")
        await call.listen()

    async with FakeUpstream(sends_binary).running() as upstream:
        path = configure(tmp_path, upstream.url, "compatible")
        persona = path.parent / "personas" / "receptionist.yaml"
        persona.write_text(persona.read_text().replace("input: {transport: binary}", "input: {}"))
        async with running_relay(path) as relay, relay.connect() as client:
            await receive(client)
            assert await client.recv() == b"audio"
            await client.send(bytes(100))
            assert (await receive(client))["error"]["code"] == "invalid_event"


@pytest.mark.parametrize("provider", ["openai", "azure"])
async def test_no_other_provider_receives_or_sends_them(tmp_path: Path, provider: str) -> None:
    async def sends_binary(call: Call) -> None:
        await call.open()
        await call.receive()
        await call.send(b"audio")
        await call.listen()

    async with FakeUpstream(sends_binary).running() as upstream:
        url = upstream.url.removesuffix("/v1") + {"azure": "/openai", "openai": "/v1"}[provider]
        async with running_relay(configure(tmp_path, url, provider)) as relay:
            async with relay.connect() as client:
                await receive(client)
                await client.send(b'{"type":"session.update"}')
                assert (await receive(client))["error"]["code"] == "invalid_event"
                await send(client, type="input_audio_buffer.commit")
                assert (await receive(client))["error"]["code"] == "upstream_lost"
                await client.wait_closed()

    kinds: list[Any] = [event["type"] for event in upstream.calls[0].received]
    assert kinds == ["session.update", "input_audio_buffer.commit"]
