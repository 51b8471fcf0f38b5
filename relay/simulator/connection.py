"""The life of one connection: reading, writing, pings, the time limit and the closing handshake."""

import asyncio
import logging
import secrets
from typing import NoReturn

from aiohttp import WSMsgType, web

from relay.simulator.context import ServerContext
from relay.simulator.errors import RequestRefused
from relay.simulator.observation import Disconnected
from relay.simulator.outbox import CloseFrame, Outbox, PingFrame, PongFrame
from relay.simulator.script import SessionScript
from relay.simulator.session import SimulatedSession
from relay.simulator.session_runner import SessionRunner
from relay.simulator.writer import SocketWriter

log = logging.getLogger(__name__)

PING_SECONDS = 20.3  # as observed on the API
_LOST_AFTER_SECONDS = 3 * PING_SECONDS
_CLOSE_SECONDS = 2.0
# While a server stops, aiohttp does not read any more, and cannot receive the client's close.
_STOP_SECONDS = 0.1
_MAX_WAITING_BYTES = 1 << 20
_SENDABLE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})


class _ConnectionEnded(Exception):
    """The connection has ended, or must end now."""


class SessionConnection:
    """One client, from the 101 to the end of the socket."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        session: SimulatedSession,
        script: SessionScript,
        context: ServerContext,
    ) -> None:
        self._socket = socket
        self._transport = transport
        self._session_id = session.id
        self._context = context
        self._tasks = asyncio.TaskGroup()
        self._outbox = Outbox(_MAX_WAITING_BYTES)
        self._writer = SocketWriter(socket, self._outbox, session.id, context.observer)
        self._runner = SessionRunner(session, script, context, self._outbox, self._tasks)
        # The close frame that ends the connection; None ends it without one.
        self._close_frame: CloseFrame | None = CloseFrame(1000, "")
        self._close_seconds = _CLOSE_SECONDS
        self._stopped: asyncio.Future[CloseFrame] = asyncio.get_running_loop().create_future()
        self._last_received = asyncio.get_running_loop().time()

    async def run(self, refused: RequestRefused | None) -> None:
        """Serve the client until one side ends the connection.

        Args:
            refused: If not None, the client receives only this error and a close frame.
        """
        try:
            async with self._tasks:
                for work in (self._write, self._ping, self._end_in_time):
                    self._tasks.create_task(work(), name=work.__name__)
                if refused is None:
                    self._runner.open()
                else:
                    self._runner.refuse(refused)
                await self._read()
        except* _ConnectionEnded:
            pass
        except* Exception:
            self._close_frame = CloseFrame(1011, "The server had an error.")
            raise
        finally:
            await self._close()

    def stop(self, code: int, reason: str) -> None:
        """Close the connection after the waiting messages, or after ``_CLOSE_SECONDS``."""
        self._close_seconds = _STOP_SECONDS
        if not self._stopped.done():
            self._stopped.set_result(CloseFrame(code, reason))

    def _end(self, close_frame: CloseFrame | None) -> NoReturn:
        self._close_frame = close_frame
        raise _ConnectionEnded

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            self._last_received = asyncio.get_running_loop().time()
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    await self._runner.receive(message.data)
                case WSMsgType.PING:
                    self._outbox.put(PongFrame(message.data))
                case WSMsgType.PONG:
                    pass
                case WSMsgType.CLOSE:
                    self._end(CloseFrame(_echo_of(message.data), ""))
                case _:
                    raise _ConnectionEnded
            await self._outbox.room()

    async def _write(self) -> None:
        try:
            last = await self._writer.run()
        except ConnectionError as error:
            raise _ConnectionEnded from error
        self._end(last if isinstance(last, CloseFrame) else None)

    async def _ping(self) -> None:
        """Ping as the API does; end the connection if the client sends nothing, also no pong."""
        clock = asyncio.get_running_loop().time
        while clock() - self._last_received < _LOST_AFTER_SECONDS:
            await asyncio.sleep(PING_SECONDS)
            self._outbox.put(PingFrame(secrets.token_bytes(4)))
        self._end(None)

    async def _end_in_time(self) -> None:
        """Wait for ``stop`` or the session's time limit; then give waiting messages some time."""
        try:
            async with asyncio.timeout(self._context.session_seconds):
                close_frame = await self._stopped
        except TimeoutError:
            minutes = self._context.session_seconds / 60
            reason = f"Your session hit the maximum duration of {minutes:g} minutes."
            close_frame = CloseFrame(1001, reason)
        self._outbox.put(close_frame)
        await asyncio.sleep(_CLOSE_SECONDS)
        self._end(close_frame)

    async def _close(self) -> None:
        """Do the closing handshake if it is possible; abort the transport in any case.

        No other task reads now, so aiohttp waits here for the client's close. A transport that is
        aborted earlier could lose messages that the client has not read yet.
        """
        is_unusable = self._writer.is_writing or self._socket.closed
        if self._close_frame is not None and not is_unusable:
            code, reason = self._close_frame.code, self._close_frame.reason
            try:
                async with asyncio.timeout(self._close_seconds):
                    await self._socket.close(code=code, message=reason.encode()[:123])
            except (TimeoutError, ConnectionError):
                log.debug("the client did not close in time")
        self._transport.abort()
        self._context.observer(Disconnected(self._session_id, self._socket.close_code))


def _echo_of(code: int) -> int:
    """Return the close code that answers the client's: the same one, if it may be sent."""
    if code == 0:  # aiohttp's value for a close frame without a code
        return 1000
    may_be_sent = code in _SENDABLE_CODES or 3000 <= code <= 4999  # noqa: PLR2004  # RFC 6455 7.4.2
    return code if may_be_sent else 1002
