"""Upstreams with TLS, on the TLS of asyncio and on that of the relay's own loop.

Faults that also happen without TLS are in ``test_faults.py``.
"""

import asyncio
import base64
import json
import tempfile
from functools import partial
from pathlib import Path

import pytest
from fakes import Wire, frame
from freed import all_set, freed, uncollected
from relays import receive, send
from rude_relays import relaying_rudely, relaying_to_a_full_upstream
from scripts import (
    APPEND,
    AT_ANY_RATE,
    WireScript,
    aborts,
    hangs_up,
    opens_and_closes,
    resets,
)

from relay.upstreams import dialler as relay_upstream
from relay.wire.loop import Loop
from relay.wire.peer import Patience

pytestmark = [pytest.mark.usefixtures("nothing_is_left"), pytest.mark.both_loops]

relaying = partial(relaying_rudely, tls=True)


async def test_the_relay_dials_with_the_tls_of_its_loop(tmp_path: Path) -> None:
    async with relaying(tmp_path, opens_and_closes) as relay, relay.connect() as client:
        await receive(client)
        (record,) = relay.sessions.running.values()
        (_, upstream) = record.bridge.peers.values()
        dialled_with = type(upstream._transport).__module__.partition(".")[0]
        is_ours = isinstance(asyncio.get_running_loop(), Loop)
        assert dialled_with == ("aiofastnet" if is_ours else "asyncio")


async def test_a_handshake_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system of a container may be read-only, and a disk may be full."""
    async with relaying(tmp_path, opens_and_closes) as relay:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
        async with relay.connect() as client:
            assert (await receive(client))["type"] == "session.created"


async def test_messages_of_any_size_arrive_byte_for_byte_and_in_order(tmp_path: Path) -> None:
    sizes = [1, 1_000, 16_383, 16_384, 16_385, 17_408, 100_000, 3_000_000, 5]
    sent = [base64.b64encode(bytes([number]) * size).decode() for number, size in enumerate(sizes)]

    async def echoes(upstream: Wire) -> None:
        await upstream.open()
        for _ in sizes:
            _, payload = await upstream.receive()
            audio = json.loads(payload)["audio"]
            delta = {"type": "response.output_audio.delta", "event_id": "e", "delta": audio}
            upstream.send(json.dumps(delta).encode())
            await upstream.writer.drain()
        await upstream.closing()

    async with relaying(tmp_path, echoes, AT_ANY_RATE) as relay:
        async with relay.connect() as client, asyncio.TaskGroup() as tasks:
            await receive(client)

            async def send_all() -> None:
                for audio in sent:
                    await send(client, type="input_audio_buffer.append", audio=audio)

            tasks.create_task(send_all())
            assert [(await receive(client))["delta"] for _ in sizes] == sent


async def closes(upstream: Wire) -> None:
    """Send a Close, and wait for the answer."""
    upstream.close_frame(1012)
    await upstream.closing()


@pytest.mark.parametrize(
    ("fault", "code"), [(closes, 1012), (resets, 1011), (hangs_up, 1011), (aborts, 1011)]
)
async def test_the_loss_of_an_upstream_is_reported_to_the_client(
    tmp_path: Path, fault: WireScript, code: int
) -> None:
    async def fails(upstream: Wire) -> None:
        await upstream.open()
        await upstream.receive()
        await fault(upstream)

    async with relaying(tmp_path, fails) as relay:
        async with asyncio.timeout(2), relay.connect() as client:
            await receive(client)
            await send(client, type="input_audio_buffer.clear")
            assert (await receive(client))["error"]["code"] == "upstream_lost"
            await client.wait_closed()
        line = await relay.ended()
    assert client.close_code == code
    assert (line["ended_by"], line["outcome"]) == ("upstream", "upstream_lost")


async def test_an_upstream_that_reads_nothing_for_too_long_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = Patience(slow_seconds=0.3, close_seconds=0.2)
    monkeypatch.setattr(relay_upstream, "PATIENCE", impatient)
    async with relaying_to_a_full_upstream(tmp_path, AT_ANY_RATE, tls=True) as relay:
        client = await Wire.connect(relay.port)
        client.writer.write(frame(APPEND, masked=True) * 6000)
        async with asyncio.timeout(5):
            code, _ = await client.closing()
            await client.hang_up()
            line = await relay.ended()
    assert code == 1011
    assert (line["ended_by"], line["outcome"]) == ("upstream", "upstream_lost")


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_the_peers_of_a_session_are_freed_without_the_garbage_collector(
    tmp_path: Path, side: str
) -> None:
    """Also if the upstream disconnects directly after its Close."""
    over = asyncio.Event()

    async def ends(upstream: Wire) -> None:
        await upstream.open()
        if side == "upstream":
            await over.wait()
            upstream.close_frame(1000)
            upstream.writer.close()
        else:
            await upstream.closing()

    async with relaying(tmp_path, ends) as relay, relay.connect() as client:
        await receive(client)
        with uncollected():
            events = freed(relay)
            over.set()
            if side == "client":
                await client.close()
            await client.wait_closed()
            await relay.ended()
            await all_set(events)
