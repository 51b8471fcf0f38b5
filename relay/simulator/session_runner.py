"""Runs a session: passes messages to it, executes its commands, and injects the script's faults."""

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TypeVar

from relay.simulator import client_events
from relay.simulator.commands import (
    DetectSpeech,
    SendEvent,
    SessionCommand,
    StartResponse,
    StopResponse,
    TranscribeItem,
    TranscribeTurn,
)
from relay.simulator.context import ServerContext
from relay.simulator.conversation import Item
from relay.simulator.errors import RequestRefused
from relay.simulator.json_text import Json
from relay.simulator.observation import Received
from relay.simulator.outbox import CloseFrame, Outbox, TextFrame
from relay.simulator.response import Response
from relay.simulator.script import SessionScript
from relay.simulator.session import SimulatedSession
from relay.simulator.streaming import FinalStatus, ResponseStreamer

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

# Longer audio is scored in a thread, so that no session waits for it; ten frames take less time
# than a change of threads.
_MAX_FRAMES_INLINE = 10


class SessionRunner:
    """Connects a session with its outbox, the speech engines and the script.

    Args:
        session: The state machine.
        script: The faults of this session.
        context: The engines, and other shared objects.
        outbox: The events are added here.
        tasks: Transcriptions and responses run in this group.
    """

    def __init__(
        self,
        session: SimulatedSession,
        script: SessionScript,
        context: ServerContext,
        outbox: Outbox,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._session = session
        self._script = script
        self._context = context
        self._outbox = outbox
        self._tasks = tasks
        self._vad = context.engines.new_vad()
        self._streamer = ResponseStreamer(
            responder=context.responder,
            synthesizer=context.engines.synthesizer,
            executor=context.executor,
            pace=context.pace,
            send=self._send_when_there_is_room,
        )
        self._streaming: dict[Response, asyncio.Task[None]] = {}
        self._is_stalled = False  # all further client events are ignored

    def open(self) -> None:
        """Begin the session."""
        self._execute(self._session.open())

    def refuse(self, refused: RequestRefused) -> None:
        """Send the error, and close the connection."""
        self._execute(self._session.refuse(refused.as_error()))
        code = refused.definition.close_code or 4000
        self._outbox.put(CloseFrame(code, f"{refused.definition.type}.{refused.code}"))

    async def receive(self, message: str | bytes) -> None:
        """Handle a message of the client."""
        if self._is_stalled:
            return
        self._context.observer(Received(self._session.id, message))
        if isinstance(message, bytes):
            self._execute(self._session.receive_binary())
            return
        if not await self._passes_script(message):
            return
        for command in self._session.receive(message):
            if isinstance(command, DetectSpeech):
                await self._detect_speech(command.frames)
            else:
                self._execute([command])

    async def _passes_script(self, message: str) -> bool:
        """Inject the faults of a client event; return whether it is handled afterwards."""
        if self._script.is_empty:
            return True
        type_, event_id = _type_and_id(message)
        rules = self._script.rules_at(type_)
        for rule in rules:
            match rule.do:
                case "delay":
                    await asyncio.sleep(rule.seconds)
                case "stall":
                    self._is_stalled = True
                case _:
                    self._outbox.put(*rule.entries(event_id))
        return not any(rule.do in {"error", "ignore", "stall"} for rule in rules)

    async def _detect_speech(self, frames: Sequence[bytes]) -> None:
        """Score the frames before the next message is read."""
        if len(frames) <= _MAX_FRAMES_INLINE:
            scores = self._score(frames)
        else:
            scores = await self._in_thread(self._score, frames)
        for frame, score in zip(frames, scores, strict=True):
            self._execute(self._session.frame_scored(frame, score))

    def _score(self, frames: Sequence[bytes]) -> list[float]:
        return [self._vad.feed(frame) for frame in frames]

    # -- commands

    def _execute(self, commands: Iterable[SessionCommand]) -> None:
        for command in commands:
            match command:
                case SendEvent(event, after_seconds) if after_seconds:
                    self._start(self._send_later(event, after_seconds), "later")
                case SendEvent(event):
                    self._send(event)
                case TranscribeItem(item, index):
                    self._start(self._transcribe_item(item, index), "transcribe item")
                case TranscribeTurn(turn_id, pcm):
                    self._start(self._transcribe_turn(turn_id, pcm), "transcribe turn")
                case StartResponse(response):
                    task = self._start(self._stream(response), "response")
                    self._streaming[response] = task
                case StopResponse(response) if response in self._streaming:
                    self._streaming.pop(response).cancel()

    def _start(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        return self._tasks.create_task(work, name=name)

    def _send(self, event: Json) -> None:
        rules = self._script.rules_at(event["type"])
        for rule in rules:
            self._outbox.put(*rule.entries())
        if not any(rule.do == "ignore" for rule in rules):
            self._outbox.put(TextFrame(json.dumps(event)))
        for rule in rules:
            if rule.do == "fail":
                self._start(self._fail(_response_id_of(event), rule.error), "fail")

    async def _fail(self, response_id: str, error: Json) -> None:
        """End a response as failed; in a task of its own, so that earlier events are sent first."""
        self._execute(self._session.fail(response_id, error))

    async def _send_later(self, event: Json, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._send(event)

    async def _send_when_there_is_room(self, events: list[Json]) -> None:
        for event in events:
            self._send(event)
        # A rule of the script may fail the response at this event: let its task run now.
        await asyncio.sleep(0)
        await self._outbox.room()

    async def _transcribe_item(self, item: Item, index: int) -> None:
        transcript = await self._recognize(bytes(item.audio[index]))
        self._execute(self._session.item_transcribed(item, index, transcript))

    async def _transcribe_turn(self, turn_id: str, pcm: bytes) -> None:
        transcript = await self._recognize(pcm)
        self._execute(self._session.turn_transcribed(turn_id, transcript or ""))

    async def _recognize(self, pcm: bytes) -> str | None:
        try:
            return await self._in_thread(self._context.engines.recognizer.transcribe, pcm)
        except Exception:  # the API reports that the transcription failed, and goes on
            log.exception("the recognizer failed")
            return None

    async def _stream(self, response: Response) -> None:
        final: FinalStatus
        try:
            final = await self._streamer.stream(response)
        except Exception:  # the API reports that the response failed, and goes on
            log.exception("a response failed")
            final = "failed", {"error": RequestRefused("server_error").as_status()}
        self._streaming.pop(response, None)
        self._execute(self._session.finish(response, *final))

    async def _in_thread(self, work: Callable[[T], R], argument: T) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._context.executor, work, argument)


def _type_and_id(message: str) -> tuple[str, str | None]:
    """Return the ``type`` and the ``event_id`` of a client event, if it has them."""
    try:
        event = client_events.parse(message)
    except RequestRefused:
        return "", None
    return str(event.get("type")), event.get("event_id")


def _response_id_of(event: Json) -> str:
    return str(event.get("response_id") or event.get("response", {}).get("id"))
