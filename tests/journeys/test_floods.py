"""One hostile peer beside a session that talks: the peer is closed, and the session has answers.

``python bench/flooded.py`` prints the round trips of the session. These tests measure no time.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from fakes import Wire
from floods import FLOODS, SMALL_BUFFER_BYTES, Talk, configure, flood_as_client, upstreams
from relays import RunningRelay, running_relay
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

ANSWERS = 20


@asynccontextmanager
async def talking(
    folder: Path, name: str = "pings"
) -> AsyncIterator[tuple[RunningRelay, Talk, "asyncio.Future[int | None]"]]:
    """Run a relay with a session; yield both, and the code with which a hostile upstream ends."""
    code: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
    async with upstreams(name, code.set_result) as urls:
        async with running_relay(configure(folder, *urls)) as relay, relay.connect() as client:
            talk = Talk(client)
            await talk.open()
            yield relay, talk, code


@pytest.mark.parametrize("name", FLOODS)
async def test_a_client_that_floods(tmp_path: Path, name: str) -> None:
    async with talking(tmp_path) as (relay, talk, _):
        async with asyncio.TaskGroup() as tasks:
            flooding = tasks.create_task(flood_as_client(relay.port, name))
            trips = await talk.beside(flooding, ANSWERS)

    assert len(trips) >= ANSWERS
    assert flooding.result() == FLOODS[name].client_code


@pytest.mark.parametrize("name", FLOODS)
async def test_a_stranger_that_floods_after_a_refusal_in_band(tmp_path: Path, name: str) -> None:
    async with talking(tmp_path) as (relay, talk, _):
        async with asyncio.TaskGroup() as tasks:
            stranger = flood_as_client(
                relay.port, name, "?persona=unknown", Sec_WebSocket_Protocol="realtime"
            )
            flooding = tasks.create_task(stranger)
            trips = await talk.beside(flooding, ANSWERS)

    assert len(trips) >= ANSWERS
    assert flooding.result() is not None


@pytest.mark.parametrize("name", FLOODS)
async def test_an_upstream_that_floods(tmp_path: Path, name: str) -> None:
    async with talking(tmp_path, name) as (relay, talk, code):
        async with asyncio.TaskGroup() as tasks:
            async with relay.connect("?persona=hostile") as client:
                tasks.create_task(_read_to_the_end(client))
                trips = await talk.beside(code, ANSWERS)

    assert len(trips) >= ANSWERS
    expected = FLOODS[name].upstream_code
    # An upstream has half a second: behind a flood, its Close comes too late, and TCP resets.
    assert code.result() in ({None} if expected is None else {expected, 1006})


async def _read_to_the_end(client: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        async for _ in client:
            pass


async def test_a_client_that_reads_nothing_is_slow(tmp_path: Path) -> None:
    async with talking(tmp_path) as (relay, talk, _):
        wire = await Wire.connect(relay.port, receive_buffer_bytes=SMALL_BUFFER_BYTES)
        wire.send(b'{"type":"response.create"}')
        while not relay.lines("session.ended"):
            await talk.round_trip()
        await wire.hang_up()
        (line,) = relay.lines("session.ended")

    assert (line["outcome"], line["close_code"]) == ("slow_client", 1013)
