"""Sends the entries of the outbox over the socket, one after the other."""

import asyncio

from aiohttp import web

from relay.simulator.observation import Observer, Sent
from relay.simulator.outbox import (
    BinaryFrame,
    CloseFrame,
    Delay,
    Drop,
    MessageFrame,
    Outbox,
    PingFrame,
    PongFrame,
    Stall,
    TextFrame,
)


class SocketWriter:
    """The only task that writes to the socket of a session.

    Attributes:
        is_writing: A send has begun and has not ended. If the writer is cancelled then, the
            socket cannot be used any more.
    """

    def __init__(
        self, socket: web.WebSocketResponse, outbox: Outbox, session_id: str, observer: Observer
    ) -> None:
        self._socket = socket
        self._outbox = outbox
        self._session_id = session_id
        self._observer = observer
        self.is_writing = False

    async def run(self) -> CloseFrame | Drop:
        """Send messages until an entry ends the connection; return this entry.

        Raises:
            ConnectionError: The client has closed the connection.
        """
        while True:
            entry = await self._outbox.take()
            match entry:
                case CloseFrame() | Drop():
                    return entry
                case Stall():
                    await asyncio.Event().wait()
                case Delay(seconds):
                    await asyncio.sleep(seconds)
                case _:
                    self.is_writing = True
                    await self._send(entry)
                    self.is_writing = False

    async def _send(self, frame: MessageFrame) -> None:
        match frame:
            case TextFrame(text):
                await self._socket.send_str(text)
                self._observer(Sent(self._session_id, text))
            case BinaryFrame(data):
                await self._socket.send_bytes(data)
                self._observer(Sent(self._session_id, data))
            case PingFrame(data):
                await self._socket.ping(data)
            case PongFrame(data):  # pragma: no branch  # all kinds
                await self._socket.pong(data)
