"""One session as a state machine: client events in, commands out.

It waits for nothing, and knows neither sockets nor clocks: whoever runs it does what it asks for
(``commands``) and tells it the outcome (``hear``, ``weighed``, ``heard``, ``finish``).
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import ClassVar

from relay.simulator import audio, configuration
from relay.simulator.commands import Answer, Command, Halt, Listen, Score, Send, Weigh
from relay.simulator.conversation import Conversation, Item, decode_base64, item_of, spoken_item
from relay.simulator.decoding import check, decode
from relay.simulator.errors import Json, Refused
from relay.simulator.ids import new_id
from relay.simulator.mind import is_finished
from relay.simulator.request import prompt_of, settings_of, without_nulls
from relay.simulator.response import Response, Status, event, rate_limits_after
from relay.simulator.transcription import transcript_events, transcript_failed
from relay.simulator.turns import (
    IdleTimeout,
    InputAudio,
    SpeechPaused,
    SpeechStarted,
    SpeechStopped,
    TurnDetection,
    TurnEvent,
)
from relay.simulator.usage import Cache, segments

MAX_APPEND_BYTES = 15 * 1024 * 1024
# The API was seen to send it about 43 ms after response.done.
_RATE_LIMITS_AFTER_SECONDS = 0.043


class Session:
    """A conversation, or a transcription, with one client.

    Args:
        model: The model of a conversation; a session without one transcribes.
        expires_at: When it ends, in seconds since the epoch.
    """

    def __init__(self, *, model: str | None, expires_at: int) -> None:
        self.id = new_id("sess")
        self.config = (
            configuration.new_transcription(self.id, expires_at=expires_at)
            if model is None
            else configuration.new_realtime(self.id, model, expires_at=expires_at)
        )
        self._conversation = Conversation()
        self._input = InputAudio(self._detection())
        self._turn: str | None = None  # the id that the item of the open turn will have
        self._active: Response | None = None  # the one that writes to the conversation
        self._running: list[Response] = []
        self._unheard: list[Response] = []  # wait until what they answer to was made out
        self._cache = Cache()
        self._has_answered = self._has_spoken = False
        self._commands: list[Command] = []

    # -- what others tell it

    def open(self) -> list[Command]:
        """Begin: the client hears first, and unasked, what the session is set to."""
        self._send("session.created", session=self.config)
        return self._asked()

    def receive(self, message: str) -> list[Command]:
        """Take in a text message of the client."""
        client_event_id = None
        try:
            client_event = decode(message)
            client_event_id = client_event.get("event_id")
            check(client_event)
            self._HANDLERS[client_event["type"]](self, client_event)
        except Refused as refused:
            self._refuse(refused, client_event_id)
        return self._asked()

    def receive_binary(self) -> list[Command]:
        """Take in a binary message: the API has none."""
        problem = "Binary messages are not supported. Send events as JSON text."
        self._refuse(Refused("invalid_event", problem=problem), None)
        return self._asked()

    def refuse(self, error: Json) -> list[Command]:
        """Answer with an error that is not the session's own."""
        self._send("error", error=error)
        return self._asked()

    def hear(self, frame: bytes, probability: float) -> list[Command]:
        """Take in a frame of input audio that is speech with this probability."""
        self._take_turn(self._input.hear(frame, probability))
        return self._asked()

    def weighed(self, turn: str, words: str) -> list[Command]:
        """Take in what was said so far in a turn that may be over."""
        if turn == self._turn and self._input.paused and is_finished(words):
            self._take_turn(self._input.stop())
        return self._asked()

    def heard(self, item: Item, index: int, words: str | None) -> list[Command]:
        """Take in what was said in an item; None if that could not be made out."""
        item.words[index] = words or ""
        if item.is_committed and item.id in self._conversation:
            self._transcribe(item, index, words)
        heard = [r for r in self._unheard if not _unheard_parts(r.prompt.items)]
        self._unheard = [r for r in self._unheard if r not in heard]
        self._commands += [Answer(response) for response in heard]
        return self._asked()

    def finish(
        self, response: Response, status: Status, details: Json | None = None
    ) -> list[Command]:
        """End a response; does nothing if it is over already."""
        if response in self._running:
            self._end(response, status, details)
        return self._asked()

    def fail(self, response_id: str, error: Json) -> list[Command]:
        """Let a response fail that is being given; does nothing if it is over already."""
        for response in self._running:
            if response.id == response_id:
                self._end(response, "failed", {"error": error})
                self._commands.append(Halt(response))
                break
        return self._asked()

    # -- the funnel

    def _asked(self) -> list[Command]:
        commands, self._commands = self._commands, []
        return commands

    def _send(self, type_: str, **fields: object) -> None:
        self._commands.append(Send(event(type_, **fields)))

    def _send_all(self, events: Iterable[Json]) -> None:
        self._commands += [Send(server_event) for server_event in events]

    def _refuse(self, refused: Refused, client_event_id: object) -> None:
        known_id = client_event_id if isinstance(client_event_id, str) else None
        self._send("error", error=refused.as_error(known_id))

    # -- the session

    @property
    def _transcribes_only(self) -> bool:
        return bool(self.config["type"] == "transcription")

    def _detection(self) -> TurnDetection | None:
        settings = self.config["audio"]["input"]["turn_detection"]
        if settings is None:
            return None
        detection = TurnDetection.of(settings)
        if self._transcribes_only:
            detection.create_response = False
        return detection

    def _update(self, client_event: Json) -> None:
        running = self._running
        self.config = configuration.updated(
            self.config,
            client_event["session"],
            has_spoken=self._has_spoken or any(r.audio_bytes for r in running),
            is_speaking=bool(running),
        )
        self._input.detect(self._detection())
        self._send("session.updated", session=self.config)
        self._list_mcp_tools(client_event["session"].get("tools", ()))

    def _list_mcp_tools(self, tools: Iterable[Json]) -> None:
        """Say of each MCP server that it cannot be reached: nothing here leaves the machine."""
        for tool in tools:
            if tool["type"] == "mcp":
                item_id = new_id("mcpl")
                self._send("mcp_list_tools.in_progress", item_id=item_id)
                self._send("mcp_list_tools.failed", item_id=item_id)

    # -- audio in

    def _append(self, client_event: Json) -> None:
        data = decode_base64(client_event["audio"], "audio")
        if len(data) > MAX_APPEND_BYTES:
            raise Refused("invalid_value", param="audio", problem="expected at most 15 MiB")
        pcm = audio.decode(data, self.config["audio"]["input"]["format"])
        if frames := self._input.append(pcm):
            self._commands.append(Score(frames))

    def _commit_by_hand(self, _: Json) -> None:
        self._input.require_enough()
        self._commit(new_id("item"))

    def _clear(self, _: Json) -> None:
        self._input.clear()
        self._send("input_audio_buffer.cleared")

    def _commit(self, item_id: str) -> None:
        """Make an item of the audio that came."""
        item = spoken_item(item_id, self._input.take())
        self._turn = None
        previous_id = self._conversation.last_id
        self._send("input_audio_buffer.committed", previous_item_id=previous_id, item_id=item_id)
        self._add(item)

    def _take_turn(self, happened: TurnEvent | None) -> None:
        match happened:
            case SpeechStarted(start_ms):
                self._turn = new_id("item")
                self._send(
                    "input_audio_buffer.speech_started",
                    audio_start_ms=start_ms,
                    item_id=self._turn,
                )
                self._interrupt()
            case SpeechPaused() if self._turn:
                self._commands.append(Weigh(self._turn, self._input.peek()))
            case SpeechStopped(end_ms) if self._turn:
                self._send(
                    "input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=self._turn
                )
                self._commit(self._turn)
                self._answer_turn()
            case IdleTimeout(start_ms, end_ms):
                item_id = new_id("item")
                self._send(
                    "input_audio_buffer.timeout_triggered",
                    audio_start_ms=start_ms,
                    audio_end_ms=end_ms,
                    item_id=item_id,
                )
                self._commit(item_id)
                self._answer_turn()

    def _interrupt(self) -> None:
        detection = self._input.detection
        if self._active and detection and detection.interrupt_response:
            self._cancel_response(self._active, "turn_detected")

    def _answer_turn(self) -> None:
        detection = self._input.detection
        if detection is None or not detection.create_response:
            return
        try:
            self._create({})
        except Refused as refused:
            self._refuse(refused, None)

    def _transcribe(self, item: Item, index: int, words: str | None) -> None:
        transcription = self.config["audio"]["input"]["transcription"]
        if transcription is None:
            return
        if words is None:
            self._send_all(transcript_failed(item, index))
            return
        item.json["content"][index]["transcript"] = words
        self._send_all(transcript_events(item, index, words, str(transcription.get("model"))))

    # -- items

    def _create_item(self, client_event: Json) -> None:
        item = item_of(client_event["item"], self.config["audio"]["input"]["format"])
        self._add(item, after=client_event.get("previous_item_id"))

    def _add(self, item: Item, *, after: str | None = None) -> None:
        self._conversation.add(item, after=after)
        for what in ("added", "done"):
            self._send(
                f"conversation.item.{what}",
                previous_item_id=self._conversation.previous_id(item),
                item=item.show(),
            )
        self._commands += [Listen(item, index) for index in item.unheard]

    def _retrieve(self, client_event: Json) -> None:
        item = self._conversation.find(client_event["item_id"], "item_retrieve_invalid_item_id")
        self._send("conversation.item.retrieved", item=item.show_with_audio(self.config["audio"]))

    def _truncate(self, client_event: Json) -> None:
        names = ("item_id", "content_index", "audio_end_ms")
        self._conversation.truncate(*(client_event[name] for name in names))
        self._send("conversation.item.truncated", **{name: client_event[name] for name in names})

    def _delete(self, client_event: Json) -> None:
        self._conversation.delete(client_event["item_id"])
        self._send("conversation.item.deleted", item_id=client_event["item_id"])

    # -- responses

    def _create(self, client_event: Json) -> None:
        if self._transcribes_only:
            problem = "a transcription session gives no responses"
            raise Refused("invalid_value", param="type", problem=problem)
        asked = without_nulls(client_event.get("response") or {})
        is_aside = asked.get("conversation") == "none"
        if self._active and not is_aside:
            raise Refused("conversation_already_has_active_response", response_id=self._active.id)
        settings = settings_of(asked, self.config, is_voice_fixed=self._has_spoken)
        prompt = prompt_of(asked, self.config, self._conversation, is_first=not self._has_answered)
        read = self._cache.read(segments(prompt.instructions, prompt.tools, prompt.items))
        conversation = None if is_aside else self._conversation
        self._begin(Response(settings, prompt, conversation, read))

    def _begin(self, response: Response) -> None:
        self._running.append(response)
        if response.conversation:
            self._active = response
        self._send_all(response.created())
        unheard = _unheard_parts(response.prompt.items)
        if not unheard:
            self._commands.append(Answer(response))
            return
        self._unheard.append(response)
        self._commands += [
            Listen(item, index) for item, index in unheard if item.id not in self._conversation
        ]

    def _cancel(self, client_event: Json) -> None:
        response_id = client_event.get("response_id")
        running = [r for r in self._running if response_id in (r.id, None)]
        chosen = [r for r in running if response_id or r is self._active]
        if not chosen:
            raise Refused("response_cancel_not_active", param="response_id")
        self._cancel_response(chosen[0], "client_cancelled")

    def _cancel_response(self, response: Response, reason: str) -> None:
        self._end(response, "cancelled", {"reason": reason})
        self._commands.append(Halt(response))

    def _end(self, response: Response, status: Status, details: Json | None) -> None:
        self._running.remove(response)
        self._unheard = [r for r in self._unheard if r is not response]
        self._has_answered = self._has_answered or response.has_said_something
        self._has_spoken = self._has_spoken or response.audio_bytes > 0
        if response is self._active:
            self._active = None
            self._input.expect_speech(response.audio_bytes)
        events = response.done(status, details)
        self._send_all(events)
        self._commands.append(Send(rate_limits_after(events[-1]), _RATE_LIMITS_AFTER_SECONDS))

    # Last, so that each handler has its name already.
    _HANDLERS: ClassVar[Mapping[str, Callable[["Session", Json], None]]] = MappingProxyType(
        {
            "session.update": _update,
            "input_audio_buffer.append": _append,
            "input_audio_buffer.commit": _commit_by_hand,
            "input_audio_buffer.clear": _clear,
            "conversation.item.create": _create_item,
            "conversation.item.truncate": _truncate,
            "conversation.item.delete": _delete,
            "conversation.item.retrieve": _retrieve,
            "response.create": _create,
            "response.cancel": _cancel,
        }
    )


def _unheard_parts(items: Iterable[Item]) -> list[tuple[Item, int]]:
    return [(item, index) for item in items for index in item.unheard]
