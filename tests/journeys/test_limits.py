"""Limits of the route: the number of sessions, sessions per minute, and the rate of a client."""

import asyncio
import base64
from itertools import islice
from pathlib import Path

import pytest
import websockets
from fakes import listens
from relays import PERSONA, RunningRelay, receive, relaying, send

KIOSK = "clients: {kiosk: {key: key-of-kiosk, limits: {%s}}}\n"
HEADERS = {"Authorization": "Bearer key-of-kiosk"}


async def outcome(relay: RunningRelay, done: asyncio.Event, query: str = "") -> str:
    """Connect and stay until ``done``; return the answer to the handshake."""
    try:
        async with relay.connect(query, additional_headers=HEADERS) as connection:
            await receive(connection)
            await done.wait()
    except websockets.InvalidStatus as refusal:
        retry_after = refusal.response.headers["Retry-After"]
        return f"{refusal.response.status_code} Retry-After: {retry_after}"
    return "101"


@pytest.mark.usefixtures("nothing_is_left")
async def test_of_a_hundred_simultaneous_connects_exactly_ten_get_a_session(tmp_path: Path) -> None:
    """The ninety refused connects do not reach the upstream."""
    done = asyncio.Event()
    async with relaying(tmp_path, listens, KIOSK % "max_sessions: 10") as (relay, upstream):
        async with asyncio.TaskGroup() as tasks:
            connects = [tasks.create_task(outcome(relay, done)) for _ in range(100)]
            for answered in islice(asyncio.as_completed(connects), 90):
                assert await answered == "429 Retry-After: 10"
            done.set()
        assert sorted(task.result() for task in connects).count("101") == 10
        assert len(upstream.calls) == 10
        assert (await relay.metrics())['relay_refusals_total{code="session_limit_reached"}'] == 90


async def test_a_persona_has_its_own_limit_of_sessions(tmp_path: Path) -> None:
    few = PERSONA + "    limits: {max_sessions: 1}\n"
    settings = KIOSK % "max_sessions: null"
    async with relaying(tmp_path, listens, settings, receptionist=few, tutor=PERSONA) as (relay, _):
        done = asyncio.Event()
        done.set()
        async with relay.connect(additional_headers=HEADERS) as connection:
            await receive(connection)

            assert await outcome(relay, done) == "429 Retry-After: 10"
            assert await outcome(relay, done, "?persona=tutor") == "101"


async def test_sessions_per_minute_are_counted_and_the_refusal_has_the_time_to_wait(
    tmp_path: Path,
) -> None:
    settings = KIOSK % "sessions_per_minute: 2"
    async with relaying(tmp_path, listens, settings) as (relay, upstream):
        done = asyncio.Event()
        done.set()
        outcomes = [await outcome(relay, done) for _ in range(3)]

        assert outcomes == ["101", "101", "429 Retry-After: 60"]
        assert len(upstream.calls) == 2
        assert (await relay.metrics())['relay_refusals_total{code="rate_limit_exceeded"}'] == 1


def audio(seconds: float) -> str:
    return base64.b64encode(bytes(int(48_000 * seconds))).decode()


@pytest.mark.usefixtures("nothing_is_left")
async def test_a_client_that_sends_too_fast_is_slowed_down_and_every_frame_arrives(
    tmp_path: Path,
) -> None:
    settings = "limits: {audio_rate: 100, audio_burst_seconds: 1, events_per_second: 10000}\n"
    async with relaying(tmp_path, listens, settings) as (relay, upstream):
        async with relay.connect() as connection:
            await receive(connection)
            started = asyncio.get_running_loop().time()
            for number in range(300):
                event = {"type": "input_audio_buffer.append", "event_id": f"e{number}"}
                await send(connection, **event, audio=audio(0.1))
            await send(connection, type="conversation.item.retrieve", item_id="last")
            assert (await receive(connection))["error"]["code"] == "event_not_allowed"
            took_seconds = asyncio.get_running_loop().time() - started

        received = [event["event_id"] for event in upstream.calls[0].received[1:]]
        assert received == [f"e{number}" for number in range(300)]
        assert took_seconds >= (30 - 1) / 100 * 0.95


@pytest.mark.usefixtures("nothing_is_left")
async def test_a_client_that_waits_for_its_rate_still_receives_and_can_be_closed(
    tmp_path: Path,
) -> None:
    settings = "limits: {audio_rate: 0.001, audio_burst_seconds: 0.1}\n"
    async with (
        relaying(tmp_path, listens, settings) as (relay, upstream),
        relay.connect() as connection,
    ):
        await receive(connection)
        for _ in range(5):
            await send(connection, type="input_audio_buffer.append", audio=audio(1))
        await upstream.calls[0].send({"type": "response.output_text.delta", "delta": "hm"})
        assert (await receive(connection))["delta"] == "hm"

        relay.sessions.stop()

        assert (await receive(connection))["error"]["code"] == "relay_draining"


@pytest.mark.usefixtures("nothing_is_left")
async def test_the_relay_notices_that_a_client_leaves_while_it_waits_for_its_rate(
    tmp_path: Path,
) -> None:
    settings = "limits: {audio_rate: 0.001, audio_burst_seconds: 0.1}\n"
    async with relaying(tmp_path, listens, settings) as (relay, upstream):
        async with relay.connect() as connection:
            await receive(connection)
            for _ in range(5):
                await send(connection, type="input_audio_buffer.append", audio=audio(0.1))
        assert await upstream.calls[0].closed == 1000
        ended = await relay.ended()
    assert (ended["ended_by"], ended["close_code"]) == ("client", 1000)
    assert ended["duration_seconds"] < 5
