"""Floods of a hostile peer, and a session that talks beside it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakes import BINARY, PING, PONG, TEXT, Call, FakeUpstream, Wire, frame, rude_upstream
from relays import PERSONA, write_config

CONTINUATION = 0
CHUNK_BYTES = 64 * 1024
FLOOD_BYTES = 2 * 1024 * 1024
"""The bytes of one flood; at most one more chunk or frame."""

ENDED_SECONDS = 5.0
"""How long a hostile peer waits for a Close before it counts as open."""

SMALL_BUFFER_BYTES = 8192

Frame = tuple[bytes, int, bool]
"""The payload of a frame, its opcode, and whether it is the last of its message."""


@dataclass(frozen=True)
class Flood:
    """The frames of a flood, and the outcome.

    Attributes:
        repeated: The frame that comes again and again.
        client_code: The code with which the relay closes a client that sends this; None if the
            client keeps its session, at the rate that it may have.
        upstream_code: The same for an upstream.
        first: The frames that come once, before.
    """

    repeated: Frame
    client_code: int | None
    upstream_code: int | None
    first: Sequence[Frame] = ()


_BEGINNING = ((b'{"type":"', TEXT, False),)
_MANY_VALUES = b'{"type":"x.y","values":[' + b"0," * 500_000 + b"0]}"
_TINY_EVENT = b'{"type":"input_audio_buffer.clear"}'

FLOODS: Mapping[str, Flood] = {
    "pings": Flood((b"", PING, True), 1008, 1008),
    "pongs": Flood((b"", PONG, True), 1008, 1008),
    "empty continuations": Flood((b"", CONTINUATION, False), 1008, 1008, _BEGINNING),
    "fragments of 1 byte": Flood((b"x", CONTINUATION, False), 1008, 1008, _BEGINNING),
    "empty texts": Flood((b"", TEXT, True), 1008, 1000),
    "tiny events": Flood((_TINY_EVENT, TEXT, True), None, None),
    "binary messages": Flood((b"\0\0", BINARY, True), 1008, None),
    "many values": Flood((_MANY_VALUES, TEXT, True), None, None),
}


async def flood(wire: Wire, name: str, *, masked: bool) -> int | None:
    """Flood the relay until it closes; return its code, or None if it left the peer open."""
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(_send(wire, FLOODS[name], masked=masked))
        try:
            async with asyncio.timeout(ENDED_SECONDS):
                return await _closing(wire)
        except TimeoutError:
            return None
        finally:
            sending.cancel()


async def _closing(wire: Wire) -> int:
    try:
        return (await wire.closing())[0]
    except (ConnectionError, asyncio.IncompleteReadError):
        return 1006


async def _send(wire: Wire, flood: Flood, *, masked: bool) -> None:
    for payload, opcode, final in flood.first:
        wire.writer.write(frame(payload, opcode, masked=masked, final=final))
    payload, opcode, final = flood.repeated
    one = frame(payload, opcode, masked=masked, final=final)
    chunk = one * max(1, CHUNK_BYTES // len(one))
    with suppress(ConnectionError):
        for _ in range(-(-FLOOD_BYTES // len(chunk))):
            wire.writer.write(chunk)
            await wire.writer.drain()


async def answers(call: Call) -> None:
    """Answer each event; after a ``response.create``, answer with audio without an end."""
    await call.open()
    while (await call.receive())["type"] != "response.create":
        await call.send({"type": "input_audio_buffer.cleared", "event_id": "e"})
    delta = {"type": "response.output_audio.delta", "event_id": "e", "delta": "A" * 65_536}
    while True:
        await call.send(delta)


@asynccontextmanager
async def upstreams(
    name: str, ended: Callable[[int | None], None] = lambda _code: None
) -> AsyncIterator[tuple[str, str]]:
    """Run an upstream that answers, and one that floods; yield their URLs.

    ``ended`` receives the code of the relay at the end of each flood.
    """

    async def floods(wire: Wire) -> None:
        await wire.open()
        ended(await flood(wire, name, masked=False))

    async with FakeUpstream(answers).running() as friendly, rude_upstream(floods) as hostile:
        yield friendly.url, hostile


def configure(folder: Path, friendly: str, hostile: str) -> Path:
    """Write a configuration with a persona for each upstream: ``receptionist``, ``hostile``."""
    personas = {
        "receptionist": PERSONA,
        "hostile": PERSONA.replace("upstream: fake", "upstream: hostile"),
    }
    settings = "limits: {slow_client_seconds: 2}"
    path = write_config(folder, friendly, settings, personas)
    more = f"{{hostile: {{url: '{hostile}', api_key: sk-PLANTED-KEY, provider: compatible}}, fake:"
    path.write_text(path.read_text().replace("{fake:", more, 1))
    return path


class Talk:
    """A session that sends a small event and waits for its answer, again and again."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def open(self) -> None:
        """Wait for the session."""
        assert json.loads(await self._client.recv())["type"] == "session.created"

    async def round_trip(self) -> float:
        """Send an event; return how long the answer took, in seconds."""
        sent_at = time.perf_counter()
        await self._client.send('{"type":"input_audio_buffer.clear"}')
        answer = json.loads(await self._client.recv())
        assert answer["type"] == "input_audio_buffer.cleared"
        return time.perf_counter() - sent_at

    async def beside(self, other: "asyncio.Future[Any]", at_least: int) -> list[float]:
        """Talk until ``other`` is done, and ``at_least`` times; return the round trips."""
        trips: list[float] = []
        while not other.done() or len(trips) < at_least:
            trips.append(await self.round_trip())
            pause = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(0.02, pause.cancel)  # below the rate of events
            await asyncio.wait({pause})
        return trips


async def flood_as_client(port: int, name: str, query: str = "", **headers: str) -> int | None:
    """Open a session, and flood the relay; return its code, or None if the session stays open."""
    wire = await Wire.dial(port)
    try:
        await wire.ask(f"/v1/realtime{query}", **headers)
        return await flood(wire, name, masked=True)
    finally:
        wire.writer.transport.abort()
