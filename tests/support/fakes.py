"""Fakes that speak the real protocol over real sockets."""

import asyncio
import base64
import hashlib
import json
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop
from aiohttp import WSMsgType, web

Script = Callable[["Call"], Awaitable[None]]
"""The behaviour of a fake upstream on one connection."""

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""Makes the answer of a fake upstream that refuses the handshake."""

PATHS = ("/v1/realtime", "/openai/v1/realtime", "/openai/realtime")
"""Paths of the API: at OpenAI, and in both interfaces of Azure."""

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
"""The opcodes of RFC 6455."""


@dataclass
class Call:
    """One connection to the fake upstream, with its received events.

    ``closed`` is the close code of the relay, or 1006.
    """

    request: web.Request
    socket: web.WebSocketResponse
    received: list[dict[str, Any]] = field(default_factory=list)
    closed: asyncio.Future[int] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    close_reason: str = ""

    async def send(self, event: Mapping[str, Any] | str | bytes) -> None:
        """Send an event, or a text as it is, or a binary message."""
        if isinstance(event, bytes):
            await self.socket.send_bytes(event)
        else:
            await self.socket.send_str(event if isinstance(event, str) else json.dumps(event))

    async def receive(self) -> dict[str, Any]:
        """Wait for the next event, and return it.

        Raises:
            ConnectionResetError: the relay closed, or sent a binary message.
        """
        message = await self.socket.receive()
        if message.type is not WSMsgType.TEXT:
            self.close_reason = message.extra or ""
            if not self.closed.done():
                self.closed.set_result(self.socket.close_code or 1006)
            raise ConnectionResetError(f"the relay closed with {self.socket.close_code}")
        event: dict[str, Any] = json.loads(message.data)
        self.received.append(event)
        return event

    async def open(self, **session: Any) -> None:
        """Send session.created, receive the relay's update, and send session.updated."""
        defaults = {"id": "sess_upstream", "object": "realtime.session", "expires_at": 4102444800}
        created = {"instructions": "You are a default.", "tools": [], **defaults, **session}
        await self.send({"type": "session.created", "event_id": "event_1", "session": created})
        update = await self.receive()
        updated = created | update["session"]
        await self.send({"type": "session.updated", "event_id": "event_2", "session": updated})

    async def listen(self) -> None:
        """Receive until the relay closes."""
        while True:
            await self.receive()

    def reset(self) -> None:
        """Reset the connection, without a Close."""
        transport = self.request.transport
        assert transport is not None
        reset(transport)


async def listens(call: Call) -> None:
    """Open the session, and receive until the relay closes."""
    await call.open()
    await call.listen()


class FakeUpstream:
    """A Realtime server that runs a script for each connection."""

    def __init__(
        self,
        script: Script = listens,
        *,
        answer: Answer | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.script = script
        self.answer = answer
        self.calls: list[Call] = []
        self.called = asyncio.Event()
        self._tls = tls
        self.port = 0

    @property
    def url(self) -> str:
        """The base URL for the relay's configuration."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self.port}/v1"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FakeUpstream"]:
        """Serve on a free port of loopback; when it runs again, on the same port."""
        app = web.Application()
        app.add_routes([web.get(path, self._handle) for path in PATHS])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self._tls, backlog=1024)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.answer is not None:
            self.called.set()
            return await self.answer(request)
        socket = web.WebSocketResponse(compress=False, max_msg_size=64 * 1024 * 1024, timeout=1)
        await socket.prepare(request)
        call = Call(request, socket)
        self.calls.append(call)
        self.called.set()
        try:
            await self.script(call)
        except ConnectionError:
            pass
        finally:
            if not call.closed.done():
                call.closed.set_result(socket.close_code or 1006)
        return socket


class Wire:
    """A WebSocket without any automatic behaviour: it answers no Ping and no Close by itself."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, masks: bool
    ) -> None:
        self.reader, self.writer, self._masks = reader, writer, masks
        self.head = ""

    @classmethod
    async def dial(
        cls,
        port: int,
        *,
        receive_buffer_bytes: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> "Wire":
        """Connect as a client, without the handshake."""
        connection = socket.socket()
        if receive_buffer_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        limit = 2**16 if receive_buffer_bytes is None else receive_buffer_bytes
        streams = await open_connection(
            sock=connection, limit=limit, ssl=tls, server_hostname="127.0.0.1" if tls else None
        )
        return cls(*streams, masks=True)

    @classmethod
    async def connect(
        cls,
        port: int,
        *,
        receive_buffer_bytes: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> "Wire":
        """Connect as a client, with the handshake."""
        wire = await cls.dial(port, receive_buffer_bytes=receive_buffer_bytes, tls=tls)
        await wire.ask()
        return wire

    async def ask(self, path: str = "/v1/realtime", **headers: str) -> int:
        """Send the head of a handshake; return the status of the response."""
        self.shake(path, **headers)
        self.head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        return int(self.head.split()[1])

    def shake(self, path: str = "/v1/realtime", **headers: str) -> None:
        """Send the head of a handshake; an underscore in a header's name becomes a hyphen."""
        asked = {
            "Host": "127.0.0.1",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {asked[name]}" for name in asked), "", ""]
        self.writer.write("\r\n".join(lines).encode("utf-8", "surrogateescape"))

    async def accept(self) -> None:
        """Receive and answer a handshake, as a server."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        key = head.partition("Sec-WebSocket-Key: ")[2].partition("\r")[0]
        digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()  # noqa: S324
        self.writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )

    async def open(self) -> None:
        """Answer the handshake, and open the session, as a server."""
        await self.accept()
        self.send(b'{"type":"session.created","event_id":"event_1","session":{"id":"sess_up"}}')
        await self.receive()
        self.send(b'{"type":"session.updated","event_id":"event_2","session":{"id":"sess_up"}}')

    def send(self, payload: bytes, opcode: int = TEXT) -> None:
        """Write a frame, without flow control."""
        self.writer.write(frame(payload, opcode, masked=self._masks))

    def close_frame(self, code: int | None, reason: bytes = b"") -> None:
        """Write a Close, also one that RFC 6455 forbids."""
        self.send(b"" if code is None else struct.pack("!H", code) + reason, CLOSE)

    async def receive(self) -> tuple[int, bytes]:
        """Return the opcode and the payload of the next frame."""
        first, second = await self.reader.readexactly(2)
        length = second & 127
        if length > 125:
            length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8))
        mask = await self.reader.readexactly(4) if second & 128 else b"\0\0\0\0"
        payload = await self.reader.readexactly(length)
        if any(mask):
            repeated = (mask * (length // 4 + 1))[:length]
            payload = (int.from_bytes(payload) ^ int.from_bytes(repeated)).to_bytes(length)
        return first & 15, payload

    async def closing(self) -> tuple[int, str]:
        """Skip frames until the Close; return its code and reason."""
        while True:
            opcode, payload = await self.receive()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2]), payload[2:].decode()

    async def events(self) -> list[dict[str, Any]]:
        """Receive until the Close; return the events."""
        events = []
        while (received := await self.receive())[0] != CLOSE:
            if received[0] == TEXT:
                events.append(json.loads(received[1]))
        return events

    async def lost(self) -> None:
        """Wait until the other side has closed the connection."""
        try:
            while await self.reader.read(2**16):
                pass
        except ConnectionError:
            pass

    def reset(self) -> None:
        """Reset the connection, without a Close."""
        reset(self.writer.transport)

    async def hang_up(self) -> None:
        """Close the connection, without a Close."""
        self.writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()


async def open_connection(
    *, limit: int = 2**16, **options: Any
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect with the TLS of asyncio or uvloop, and not with that of the relay's loop."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit)
    protocol = asyncio.StreamReaderProtocol(reader)
    loop_class = uvloop.Loop if isinstance(loop, uvloop.Loop) else type(loop)
    transport, _ = await loop_class.create_connection(loop, lambda: protocol, **options)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def frame(payload: bytes, opcode: int = TEXT, *, masked: bool, final: bool = True) -> bytes:
    """Return a frame; its mask is zero, so the payload is unchanged."""
    bit, length = 128 * masked, len(payload)
    if length < 126:
        size = struct.pack("!B", bit | length)
    elif length < 2**16:
        size = struct.pack("!BH", bit | 126, length)
    else:
        size = struct.pack("!BQ", bit | 127, length)
    return struct.pack("!B", 128 * final | opcode) + size + b"\0\0\0\0" * masked + payload


def reset(transport: asyncio.BaseTransport) -> None:
    """Close a connection with a TCP reset."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    cast("asyncio.Transport", transport).abort()  # uvloop's transports have another base class


@asynccontextmanager
async def rude_upstream(
    script: Callable[[Wire], Awaitable[None]],
    *,
    receive_buffer_bytes: int | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """Run ``script`` on the bare socket of each connection; yield the base URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer, masks=False)
        try:
            await script(wire)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            await wire.hang_up()

    listener = socket.create_server(("127.0.0.1", 0))
    if receive_buffer_bytes is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    limit = 2**16 if receive_buffer_bytes is None else receive_buffer_bytes
    async with await asyncio.start_server(serve, sock=listener, limit=limit, ssl=tls):
        scheme = "https" if tls else "http"
        yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/v1"
