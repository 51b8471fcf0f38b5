"""Runs one session over one socket: its clocks, its threads, its tasks, and its one way to end."""

import asyncio
import json
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import WSMessage, WSMsgType, web

from relay.simulator.commands import Answer, Close, Command, Halt, Listen, Score, Send, Weigh
from relay.simulator.conversation import Item
from relay.simulator.decoding import decode
from relay.simulator.errors import Json, Refused
from relay.simulator.mind import Mind
from relay.simulator.observation import Disconnected, Observer, Received, Sent
from relay.simulator.outbox import Binary, Drop, Outbox, Pause, Ping, Pong, Stall, Text
from relay.simulator.player import Outcome, Player
from relay.simulator.response import Response
from relay.simulator.script import Trouble
from relay.simulator.senses import Senses
from relay.simulator.session import Session

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

PING_SECONDS = 20.3  # as seen from the API
_LOST_AFTER_SECONDS = 3 * PING_SECONDS
_CLOSE_SECONDS = 2.0
# aiohttp reads nothing any more while a server stops, so the client's close would never be seen.
_STOP_SECONDS = 0.1
_MAX_WAITING_BYTES = 1 << 20
_SENDABLE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
# Longer audio is scored in a thread, so that nobody waits for it; a hop costs more than this.
_MAX_FRAMES_INLINE = 10


class _Over(Exception):
    """The connection has ended, or is to end now."""


@dataclass(frozen=True, slots=True)
class Means:
    """What all connections share.

    Attributes:
        mind: Decides what to say.
        senses: Hear and speak.
        executor: Where they may block.
        pace: Seconds of audio that are sent in a second.
        session_seconds: How long a session may last.
        observer: Is told of every message.
    """

    mind: Mind
    senses: Senses
    executor: Executor
    pace: float
    session_seconds: float
    observer: Observer


class Connection:
    """One client, from the answered handshake to the end of the socket."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        session: Session,
        trouble: Trouble,
        means: Means,
    ) -> None:
        self._socket = socket
        self._transport = transport
        self._session = session
        self._trouble = trouble
        self._means = means
        self._vad = means.senses.new_vad()
        self._outbox = Outbox(_MAX_WAITING_BYTES)
        self._player = Player(
            mind=means.mind,
            voice=means.senses.voice,
            executor=means.executor,
            speed=means.pace,
            send=self._send_when_there_is_room,
        )
        self._playing: dict[Response, asyncio.Task[None]] = {}
        self._is_writing = self._is_deaf = False
        self._farewell: Close | None = Close(1000, "")
        self._close_seconds = _CLOSE_SECONDS
        self._stopped: asyncio.Future[Close] = asyncio.get_running_loop().create_future()
        self._last_heard = asyncio.get_running_loop().time()
        self._tasks = asyncio.TaskGroup()

    async def run(self, refused: Refused | None) -> None:
        """Serve the client until it leaves, or is told to.

        Args:
            refused: Why the client is not served, if it is not: it reads that, and no more.
        """
        try:
            async with self._tasks:
                for clock in (self._write, self._ping, self._end_in_time):
                    self._tasks.create_task(clock(), name=clock.__name__)
                self._begin(refused)
                await self._read()
        except* _Over:
            pass
        except* Exception:
            self._farewell = Close(1011, "The server had an error.")
            raise
        finally:
            await self._hang_up()

    def stop(self, code: int, reason: str) -> None:
        """Close, once all that was said before is sent, or cannot be."""
        self._close_seconds = _STOP_SECONDS
        if not self._stopped.done():
            self._stopped.set_result(Close(code, reason))

    # -- its clocks and its end

    async def _write(self) -> None:
        """Send what waits, one thing after the other."""
        while True:
            entry = await self._outbox.take()
            match entry:
                case Close():
                    self._farewell = entry
                    raise _Over
                case Drop():
                    self._farewell = None
                    raise _Over
                case Stall():
                    await asyncio.Event().wait()
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                case _:
                    self._is_writing = True
                    await self._write_message(entry)
                    self._is_writing = False

    async def _write_message(self, entry: Text | Binary | Ping | Pong) -> None:
        try:
            match entry:
                case Text(text):
                    await self._socket.send_str(text)
                    self._means.observer(Sent(self._session.id, text))
                case Binary(data):
                    await self._socket.send_bytes(data)
                    self._means.observer(Sent(self._session.id, data))
                case Ping(data):
                    await self._socket.ping(data)
                case Pong(data):
                    await self._socket.pong(data)
        except ConnectionError as error:
            raise _Over from error

    async def _ping(self) -> None:
        """Ping as the API does, and give up a client of whom nothing is heard."""
        clock = asyncio.get_running_loop().time
        while clock() - self._last_heard < _LOST_AFTER_SECONDS:
            await asyncio.sleep(PING_SECONDS)
            self._outbox.put(Ping(secrets.token_bytes(4)))
        self._farewell = None
        raise _Over

    async def _end_in_time(self) -> None:
        """Wait for ``stop`` or the session's limit; then let what waits go first, for a while."""
        try:
            async with asyncio.timeout(self._means.session_seconds):
                end = await self._stopped
        except TimeoutError:
            minutes = self._means.session_seconds / 60
            reason = f"Your session hit the maximum duration of {minutes:g} minutes."
            end = Close(1001, reason)
        self._outbox.put(end)
        await asyncio.sleep(_CLOSE_SECONDS)
        self._farewell = end
        raise _Over

    async def _hang_up(self) -> None:
        """Shake hands on the end, if the client still does; the transport ends in any case.

        Nobody reads any more, so aiohttp waits here for the client's close: a transport that is
        closed before could lose what the client has not read yet.
        """
        # A writer that was stopped in the middle of a send leaves a socket that cannot be used.
        end = None if self._is_writing or self._socket.closed else self._farewell
        if end is not None:
            try:
                async with asyncio.timeout(self._close_seconds):
                    await self._socket.close(code=end.code, message=end.reason.encode()[:123])
            except (TimeoutError, ConnectionError):
                log.debug("a client did not close in time")
        self._transport.abort()
        self._means.observer(Disconnected(self._session.id, self._socket.close_code))

    # -- what the client says

    def _begin(self, refused: Refused | None) -> None:
        if refused is None:
            self._perform(self._session.open())
            return
        self._perform(self._session.refuse(refused.as_error()))
        code = refused.fault.close_code or 4000
        self._outbox.put(Close(code, f"{refused.fault.type}.{refused.code}"))

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            self._last_heard = asyncio.get_running_loop().time()
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    await self._receive(message)
                case WSMsgType.PING:
                    self._outbox.put(Pong(message.data))
                case WSMsgType.PONG:
                    pass
                case WSMsgType.CLOSE:
                    self._farewell = Close(_echo_of(message.data), "")
                    raise _Over
                case _:
                    raise _Over
            await self._outbox.room()

    async def _receive(self, message: WSMessage) -> None:
        if self._is_deaf:
            return
        self._means.observer(Received(self._session.id, message.data))
        if isinstance(message.data, bytes):
            self._perform(self._session.receive_binary())
            return
        if not await self._meet_trouble(message.data):
            return
        for command in self._session.receive(message.data):
            if isinstance(command, Score):
                await self._score(command.frames)
            else:
                self._perform([command])

    async def _meet_trouble(self, message: str) -> bool:
        """Let happen what is to happen at a client event; tell whether it is handled then."""
        if self._trouble.is_quiet:
            return True
        type_, event_id = _head_of(message)
        rules = self._trouble.at(type_)
        for rule in rules:
            match rule.do:
                case "delay":
                    await asyncio.sleep(rule.seconds)
                case "stall":
                    self._is_deaf = True
                case _:
                    self._outbox.put(*rule.entries(event_id))
        return not any(rule.do in {"error", "ignore", "stall"} for rule in rules)

    async def _score(self, frames: Sequence[bytes]) -> None:
        """Tell speech from silence in what came, before anything else is read."""
        if len(frames) <= _MAX_FRAMES_INLINE:
            scores = self._feed(frames)
        else:
            scores = await self._in_thread(self._feed, frames)
        for frame, score in zip(frames, scores, strict=True):
            self._perform(self._session.hear(frame, score))

    def _feed(self, frames: Sequence[bytes]) -> list[float]:
        return [self._vad.feed(frame) for frame in frames]

    # -- what the session asks for

    def _perform(self, commands: Iterable[Command]) -> None:
        for command in commands:
            match command:
                case Send(event, after_seconds) if after_seconds:
                    self._start(self._emit_later(event, after_seconds), "later")
                case Send(event):
                    self._emit(event)
                case Listen(item, index):
                    self._start(self._listen(item, index), "listen")
                case Weigh(turn, pcm):
                    self._start(self._weigh(turn, pcm), "weigh")
                case Answer(response):
                    self._playing[response] = self._start(self._answer(response), "answer")
                case Halt(response) if response in self._playing:
                    self._playing.pop(response).cancel()

    def _start(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        return self._tasks.create_task(work, name=name)

    def _emit(self, event: Json) -> None:
        rules = self._trouble.at(event["type"])
        for rule in rules:
            self._outbox.put(*rule.entries())
        if not any(rule.do == "ignore" for rule in rules):
            self._outbox.put(Text(json.dumps(event)))
        for rule in rules:
            if rule.do == "fail":
                self._start(self._fail(_response_id_of(event), rule.error), "fail")

    async def _fail(self, response_id: str, error: Json) -> None:
        """Let a response fail; a task of its own, so that what is being told is told first."""
        self._perform(self._session.fail(response_id, error))

    async def _emit_later(self, event: Json, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._emit(event)

    async def _send_when_there_is_room(self, events: list[Json]) -> None:
        for event in events:
            self._emit(event)
        # If this was where the response is to fail, it goes no further.
        await asyncio.sleep(0)
        await self._outbox.room()

    async def _listen(self, item: Item, index: int) -> None:
        words = await self._recognize(bytes(item.sounds[index]))
        self._perform(self._session.heard(item, index, words))

    async def _weigh(self, turn: str, pcm: bytes) -> None:
        words = await self._recognize(pcm)
        self._perform(self._session.weighed(turn, words or ""))

    async def _recognize(self, pcm: bytes) -> str | None:
        try:
            return await self._in_thread(self._means.senses.recognizer.transcribe, pcm)
        except Exception:  # the API says of such an item that it failed, and goes on
            log.exception("speech could not be recognized")
            return None

    async def _answer(self, response: Response) -> None:
        outcome: Outcome
        try:
            outcome = await self._player.play(response)
        except Exception:  # the API says of such a response that it failed, and goes on
            log.exception("a response could not be given")
            outcome = "failed", {"error": Refused("server_error").as_status()}
        self._playing.pop(response, None)
        self._perform(self._session.finish(response, *outcome))

    async def _in_thread(self, work: Callable[[T], R], argument: T) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._means.executor, work, argument)


def _echo_of(code: int) -> int:
    """Return the close code that answers a client's: the same, if it may be sent at all."""
    if code == 0:  # so aiohttp says that there was none
        return 1000
    may_be_sent = code in _SENDABLE_CODES or 3000 <= code <= 4999  # noqa: PLR2004  # RFC 6455 7.4.2
    return code if may_be_sent else 1002


def _head_of(message: str) -> tuple[str, str | None]:
    """Return the type and the id of a client event, as far as it has them."""
    try:
        event = decode(message)
    except Refused:
        return "", None
    return str(event.get("type")), event.get("event_id")


def _response_id_of(event: Json) -> str:
    return str(event.get("response_id") or event.get("response", {}).get("id"))
