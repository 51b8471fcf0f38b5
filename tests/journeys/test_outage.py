"""A network that is out for a while: the client is away, and not slow."""

import asyncio
import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import Call, FakeUpstream
from networks import Network, separate_network
from relays import receive, running_relay, send, write_config

OUTAGE_SECONDS = 4.0
DELTAS = 200
DELTA = base64.b64encode(bytes(48_000)).decode()
"""A second of PCM. All of them are three times as much as ``max_buffered_bytes``."""


@pytest.fixture
def network() -> Iterator[Network]:
    """A network that can be cut."""
    try:
        with separate_network() as made:
            yield made
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs the permission to make network namespaces: {error}")


async def test_after_an_outage_the_session_goes_on_and_all_audio_arrives(
    tmp_path: Path, network: Network
) -> None:
    async def answers_fast(call: Call) -> None:
        await call.open()
        await call.receive()
        for number in range(DELTAS):
            event = {"type": "response.output_audio.delta", "event_id": str(number)}
            await call.send({**event, "delta": DELTA})
        while True:
            await call.receive()
            await call.send({"type": "input_audio_buffer.cleared", "event_id": "e"})

    limits = "limits: {slow_client_seconds: 1}"
    async with FakeUpstream(answers_fast).running() as upstream:
        path = write_config(tmp_path, upstream.url, limits)
        async with running_relay(path, host=network.address) as relay:
            connection = network.connect(relay.port)
            async with relay.connect(sock=connection) as client:
                await receive(client)
                await send(client, type="response.create")
                numbers = [(await receive(client))["event_id"] for _ in range(10)]
                network.cut()
                asyncio.get_running_loop().call_later(OUTAGE_SECONDS, network.heal)
                numbers += [(await receive(client))["event_id"] for _ in range(10, DELTAS)]
                await send(client, type="input_audio_buffer.clear")
                assert (await receive(client))["type"] == "input_audio_buffer.cleared"
            line = await relay.ended()

    assert numbers == [str(number) for number in range(DELTAS)]
    assert (line["ended_by"], line["outcome"]) == ("client", "completed")
    assert line["duration_seconds"] > OUTAGE_SECONDS
