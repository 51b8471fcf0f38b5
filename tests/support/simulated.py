"""Runs the local upstream for tests, with a raw client that keeps all received events."""

import asyncio
import base64
import json
import math
import wave
from array import array
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from aiohttp import web
from conformance import check_events
from paths import AUDIO
from relays import TEST_SECONDS
from websockets.asyncio.client import ClientConnection, connect

from relay.simulator import create_app
from relay.simulator.engines import SpeechEngines
from relay.simulator.fallback import EnergyVad, ToneSynthesizer

Json = dict[str, Any]
BYTES_PER_SECOND = 48_000
SILENCE = bytes(BYTES_PER_SECOND)  # a second
WORDS: Mapping[str, str] = json.loads((AUDIO / "transcripts.json").read_text())


def clip(name: str) -> bytes:
    """Return human speech as 24 kHz PCM, with half a second of silence before and after it."""
    with wave.open(str(AUDIO / name)) as file:
        spoken = array("h", file.readframes(file.getnframes()))
    # From 16 kHz to 24 kHz: three samples for two, on a line between them.
    resampled = array("h")
    for left, right in zip(spoken[0::2], spoken[1::2], strict=False):
        resampled.extend((left, (left + 2 * right) // 3, right))
    half = bytes(BYTES_PER_SECOND // 2)
    return half + resampled.tobytes() + half


def tone(seconds: float, *, loudness: int = 8000) -> bytes:
    """Return a tone that the fallback engine detects as speech."""
    return array(
        "h", (int(loudness * math.sin(n / 12)) for n in range(int(seconds * 24_000)))
    ).tobytes()


@dataclass
class KnownWords:
    """A recognizer with fixed results, one for each call; the last one repeats."""

    words: Sequence[str]
    received: list[bytes] = field(default_factory=list)

    def transcribe(self, pcm16: bytes) -> str:
        """Return the next result."""
        self.received.append(pcm16)
        return self.words[min(len(self.received), len(self.words)) - 1]


def knowing(*words: str) -> SpeechEngines:
    """Return engines that recognize these texts, one for each call."""
    return SpeechEngines(
        new_vad=EnergyVad, recognizer=KnownWords(words), synthesizer=ToneSynthesizer()
    )


@dataclass
class Client:
    """A raw client.

    Attributes:
        received: All received events, in order.
    """

    socket: ClientConnection
    received: list[Json] = field(default_factory=list)

    async def send(self, type_: str, **fields: object) -> None:
        """Send an event."""
        await self.socket.send(json.dumps({"type": type_, **fields}))

    async def receive(self) -> Json:
        """Return the next event."""
        async with asyncio.timeout(TEST_SECONDS):
            event: Json = json.loads(await self.socket.recv())
        self.received.append(event)
        return event

    async def until(self, type_: str) -> Json:
        """Return the next event of this type."""
        while (event := await self.receive())["type"] != type_:
            pass
        return event

    async def update(self, **session: object) -> Json:
        """Update the session, and return its new configuration."""
        await self.send("session.update", session={"type": "realtime", **session})
        return dict((await self.until("session.updated"))["session"])

    async def append(self, pcm: bytes, *, chunk_bytes: int = 9_600) -> None:
        """Send audio in appends, without pauses."""
        for start in range(0, len(pcm), chunk_bytes):
            audio = base64.b64encode(pcm[start : start + chunk_bytes]).decode()
            await self.send("input_audio_buffer.append", audio=audio)

    async def exchange(self, text: str, **response: object) -> Json:
        """Send a text message, request a response, and return it when it is done."""
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await self.send("conversation.item.create", item=item)
        await self.send("response.create", response=response)
        return dict((await self.until("response.done"))["response"])

    async def refused(self, type_: str, **fields: object) -> Json:
        """Send an event, and return the error that answers it."""
        await self.send(type_, event_id="mine", **fields)
        error: Json = (await self.until("error"))["error"]
        assert error["event_id"] == "mine"
        return error

    def types(self) -> list[str]:
        """Return the types of all received events."""
        return [event["type"] for event in self.received]

    def all(self, type_: str) -> Iterator[Json]:
        """Yield the received events of this type."""
        return (event for event in self.received if event["type"] == type_)

    def audio(self) -> bytes:
        """Return the received audio in its format."""
        deltas = self.all("response.output_audio.delta")
        return b"".join(base64.b64decode(event["delta"]) for event in deltas)


@dataclass
class Upstream:
    """A running local upstream."""

    runner: web.AppRunner
    clients: list[Client] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Its port on 127.0.0.1."""
        return int(self.runner.addresses[0][1])

    @property
    def base_url(self) -> str:
        """Its base URL for an SDK."""
        return f"http://127.0.0.1:{self.port}/v1"

    def url(self, query: str = "model=gpt-realtime-2.1") -> str:
        """Return its URL for a raw client."""
        return f"ws://127.0.0.1:{self.port}/v1/realtime?{quote(query, safe='=&')}"

    @asynccontextmanager
    async def connect(
        self, query: str = "model=gpt-realtime-2.1", **options: Any
    ) -> AsyncIterator[Client]:
        """Connect; at the end, check that all received events conform to the API."""
        options = {"max_size": None, "compression": None, "proxy": None, **options}
        async with connect(self.url(query), **options) as socket:
            client = Client(socket)
            self.clients.append(client)
            yield client
            check_events(client.received)


@asynccontextmanager
async def simulated(**options: Any) -> AsyncIterator[Upstream]:
    """Run a local upstream; without ``pace`` it sends audio as fast as possible."""
    app = create_app(**{"pace": math.inf, **options})
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=10)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Upstream(runner)
    finally:
        await runner.cleanup()
