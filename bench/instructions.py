"""Counts the instructions of a message through a server: ``make bench ARGS=--instructions``.

A client sends one message at a time through a server with TLS to its upstream, and the next one
when it has arrived. The server runs under callgrind. The cost of a message is the difference of two
windows with different numbers of messages, so work beside the messages does not count.
"""

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import callgrind
import uvloop
from certificate import write_certificate
from contenders import CONTENDERS, KEY, Contender, UpstreamAddress
from events import (
    APPEND,
    APPEND_HEAD,
    APPENDS_PER_DELTA,
    APPENDS_PER_RESPONSE,
    DELTA,
    PATH,
    delta_head,
    response_created,
    response_done,
    session_event,
)
from machine import HOST
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_connect,
    ws_create_server,
)
from runner import shared_folder

COUNTED = ("nginx", "bare", "relay")
MIX = "mean of a conversation"
WARM_UP, FEW, MANY = 50, 50, 450
"""The numbers of messages: before the measurement, and in the two windows."""

SECONDS = 120.0
"""A message that takes longer is lost."""

Work = Callable[["Conversation", int], Awaitable[None]]
"""Relays the messages with this number."""


class Talker(WSListener):
    """One end of the session."""

    def __init__(self) -> None:
        self._transport: WSTransport
        self._received: asyncio.Queue[bytes] = asyncio.Queue()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take a text message; close when the server closes."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT:
            self._take(frame.get_payload_as_bytes())

    def _take(self, message: bytes) -> None:
        self._received.put_nowait(message)

    def send(self, message: bytes) -> None:
        """Send a message."""
        self._transport.send(WSMsgType.TEXT, message)

    async def receive(self) -> bytes:
        """Return the next message."""
        async with asyncio.timeout(SECONDS):
            return await self._received.get()

    def leave(self) -> None:
        """Close the connection."""
        self._transport.disconnect(graceful=False)


class Upstream(Talker):
    """The upstream: it confirms the session."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Send ``session.created``, as the API does."""
        super().on_ws_connected(transport)
        self.send(session_event("session.created"))

    def _take(self, message: bytes) -> None:
        if message.startswith(APPEND_HEAD):
            super()._take(message)
        else:
            self.send(session_event("session.updated", **json.loads(message)["session"]))


class Conversation:
    """A session through a server: its client, and its upstream."""

    def __init__(self, client: Talker, upstream: Talker) -> None:
        self._client, self._upstream = client, upstream

    async def append(self, number: int) -> None:
        """Relay audio of the client."""
        self._client.send(APPEND.encode(APPEND_HEAD, (1, 0, number)))
        await self._upstream.receive()

    async def delta(self, number: int) -> None:
        """Relay audio of the upstream."""
        self._upstream.send(DELTA.encode(delta_head(0, 0), (1, 0, number)))
        await self._client.receive()

    async def response(self, number: int) -> None:
        """Relay the begin of a response, and its end with its usage."""
        for event in (response_created, response_done):
            self._upstream.send(event(0, number))
            await self._client.receive()


WORK: Mapping[str, Work] = {
    "append": Conversation.append,
    "delta": Conversation.delta,
    "response": Conversation.response,
}


def main() -> int:
    """Print a table; return 1 without valgrind."""
    if not callgrind.is_installed():
        print(callgrind.MISSING, file=sys.stderr)
        return 1
    present = [c for c in CONTENDERS if c.name in COUNTED and c.version]
    with shared_folder() as folder:
        print(table({c.name: uvloop.run(_count(c, folder)) for c in present}))
    return 0


def table(counted: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table in Markdown: thousands of instructions by message and server."""
    rows = [["thousands of instructions", *counted], ["---", *["---:"] * len(counted)]]
    for kind in (*WORK, MIX):
        cells = [_with_mix(costs)[kind] / 1000 for costs in counted.values()]
        rows.append([kind, *(f"{cell:,.1f}" for cell in cells)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _with_mix(costs: Mapping[str, float]) -> Mapping[str, float]:
    """Add the mean of a message in the proportions of a conversation."""
    deltas = APPENDS_PER_RESPONSE / APPENDS_PER_DELTA
    total = APPENDS_PER_RESPONSE * costs["append"] + deltas * costs["delta"] + costs["response"]
    return {**costs, MIX: total / (APPENDS_PER_RESPONSE + deltas + 2)}


async def _count(contender: Contender, folder: Path) -> Mapping[str, float]:
    """Return the instructions of a message by its kind."""
    out = folder / "callgrind.out"
    async with _upstream(folder) as (address, connected):
        with _under_callgrind(contender, out).running(folder, address) as server:
            client = Talker()
            headers = {"Authorization": f"Bearer {KEY}"}
            url = f"ws://{HOST}:{server.port}{PATH}"
            await ws_connect(lambda: client, url, extra_headers=headers)
            await client.receive()  # session.created
            conversation = Conversation(client, await connected.get())
            counter = callgrind.Counter(server.pid, out)
            return {
                kind: await _cost(partial(work, conversation), counter)
                for kind, work in WORK.items()
            }


async def _cost(relay: Callable[[int], Awaitable[None]], counter: callgrind.Counter) -> float:
    """Return the instructions of one message; ``relay`` relays the message with a number."""
    counts, number = [], 0
    for messages in (WARM_UP, FEW, MANY):
        for _ in range(messages):
            await relay(number)
            number += 1
        counts.append(counter.count())
    return (counts[-1] - counts[-2]) / (MANY - FEW)


def _under_callgrind(contender: Contender, out: Path) -> Contender:
    program, *options = callgrind.prefix(out, "--instr-atstart=no")
    config = contender.config[0].replace("daemon off;", "daemon off;\nmaster_process off;")
    return replace(
        contender,
        program=program,
        arguments=(*options, contender.program, *contender.arguments),
        environment={**contender.environment, **callgrind.ENVIRONMENT},
        config=(config, contender.config[1]),
    )


@asynccontextmanager
async def _upstream(
    folder: Path,
) -> AsyncIterator[tuple[UpstreamAddress, asyncio.Queue[Upstream]]]:
    """Provide an upstream with TLS, and the queue of its connections."""
    certificate = folder / "upstream.pem", folder / "upstream.key"
    write_certificate(*certificate)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*certificate)
    connected: asyncio.Queue[Upstream] = asyncio.Queue()

    def connect(_request: WSUpgradeRequest) -> Upstream:
        upstream = Upstream()
        connected.put_nowait(upstream)
        return upstream

    server = await ws_create_server(connect, HOST, 0, ssl=tls)
    try:
        yield UpstreamAddress(server.sockets[0].getsockname()[1], certificate[0]), connected
    finally:
        server.close()


if __name__ == "__main__":
    sys.exit(main())
