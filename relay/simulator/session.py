"""One session as a state machine: client events in, commands out.

It waits for nothing, and has neither sockets nor clocks. The ``SessionRunner`` executes its
``commands`` and reports the results with ``frame_scored``, ``turn_transcribed``,
``item_transcribed`` and ``finish``.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar

from relay.simulator import audio, configuration, turns
from relay.simulator.client_events import check, parse
from relay.simulator.commands import (
    CommandQueue,
    DetectSpeech,
    SessionCommand,
    TranscribeItem,
    TranscribeTurn,
)
from relay.simulator.conversation import (
    Item,
    SimulatedConversation,
    committed_item,
    decode_base64,
    item_of,
)
from relay.simulator.errors import RequestRefused
from relay.simulator.ids import new_id
from relay.simulator.json_text import Json
from relay.simulator.response import Response, Status
from relay.simulator.responses import Responses
from relay.simulator.server_events import mcp_list_failures
from relay.simulator.transcription import transcript_events, transcript_failed

MAX_APPEND_BYTES = 15 * 1024 * 1024


class SimulatedSession:
    """A realtime session or a transcription session with one client.

    Args:
        model: The model of a realtime session; None for a transcription session.
        expires_at: The end of the session, in seconds since the epoch.

    Attributes:
        id: The id of the session.
        config: The ``session`` object of ``session.created`` and ``session.updated``.
    """

    def __init__(self, *, model: str | None, expires_at: int) -> None:
        self.id = new_id("sess")
        self.config = (
            configuration.new_transcription(self.id, expires_at=expires_at)
            if model is None
            else configuration.new_realtime(self.id, model, expires_at=expires_at)
        )
        self._commands = CommandQueue()
        self._conversation = SimulatedConversation()
        self._input = turns.InputAudio(self._detection())
        self._turn_id: str | None = None  # the future item of the open turn
        self._responses = Responses(self._commands, self._conversation, self._input)

    # -- inputs

    def open(self) -> list[SessionCommand]:
        """Begin the session: ``session.created`` is the first event."""
        self._commands.send("session.created", session=self.config)
        return self._commands.take()

    def receive(self, message: str) -> list[SessionCommand]:
        """Handle a text message of the client."""
        client_event_id = None
        try:
            client_event = parse(message)
            client_event_id = client_event.get("event_id")
            check(client_event)
            self._HANDLERS[client_event["type"]](self, client_event)
        except RequestRefused as refused:
            self._refuse(refused, client_event_id)
        return self._commands.take()

    def receive_binary(self) -> list[SessionCommand]:
        """Answer a binary message with an error: the API has none."""
        problem = "Binary messages are not supported. Send events as JSON text."
        self._refuse(RequestRefused("invalid_event", problem=problem), None)
        return self._commands.take()

    def refuse(self, error: Json) -> list[SessionCommand]:
        """Send an error that was detected outside the session."""
        self._commands.send("error", error=error)
        return self._commands.take()

    def frame_scored(self, frame: bytes, probability: float) -> list[SessionCommand]:
        """Add a frame of input audio that is speech with this probability."""
        self._apply(self._input.add_frame(frame, probability))
        return self._commands.take()

    def turn_transcribed(self, turn_id: str, transcript: str) -> list[SessionCommand]:
        """End a paused turn if its transcript so far is a finished sentence."""
        is_paused = turn_id == self._turn_id and self._input.state is turns.TurnState.PAUSED
        if is_paused and turns.is_finished(transcript):
            self._apply(self._input.stop())
        return self._commands.take()

    def item_transcribed(
        self, item: Item, index: int, transcript: str | None
    ) -> list[SessionCommand]:
        """Add the transcript of a content part; None means that the recognizer failed."""
        item.transcripts[index] = transcript or ""
        if item.is_committed and item.id in self._conversation:
            self._send_transcript(item, index, transcript)
        self._responses.start_transcribed()
        return self._commands.take()

    def finish(
        self, response: Response, status: Status, details: Json | None = None
    ) -> list[SessionCommand]:
        """End a response; does nothing if it is over already."""
        self._responses.finish(response, status, details)
        return self._commands.take()

    def fail(self, response_id: str, error: Json) -> list[SessionCommand]:
        """End a response as failed; does nothing if it is over already."""
        self._responses.fail(response_id, error)
        return self._commands.take()

    def _refuse(self, refused: RequestRefused, client_event_id: object) -> None:
        event_id = client_event_id if isinstance(client_event_id, str) else None
        self._commands.send("error", error=refused.as_error(event_id))

    # -- configuration

    @property
    def _transcribes_only(self) -> bool:
        return bool(self.config["type"] == "transcription")

    def _detection(self) -> turns.TurnDetection | None:
        settings = self.config["audio"]["input"]["turn_detection"]
        if settings is None:
            return None
        detection = turns.TurnDetection.of(settings)
        if self._transcribes_only:
            detection.create_response = False
        return detection

    def _update(self, client_event: Json) -> None:
        self.config = configuration.updated(
            self.config,
            client_event["session"],
            has_assistant_audio=self._responses.have_audio,
            is_responding=self._responses.are_running,
        )
        self._input.detect(self._detection())
        self._commands.send("session.updated", session=self.config)
        self._commands.send_all(mcp_list_failures(client_event["session"].get("tools", ())))

    # -- input audio

    def _append(self, client_event: Json) -> None:
        data = decode_base64(client_event["audio"], "audio")
        if len(data) > MAX_APPEND_BYTES:
            raise RequestRefused("invalid_value", param="audio", problem="expected at most 15 MiB")
        pcm = audio.decode(data, self.config["audio"]["input"]["format"])
        if frames := self._input.append(pcm):
            self._commands.add(DetectSpeech(frames))

    def _commit_by_client(self, _: Json) -> None:
        self._input.require_enough()
        self._commit(new_id("item"))

    def _clear(self, _: Json) -> None:
        self._input.clear()
        self._commands.send("input_audio_buffer.cleared")

    def _commit(self, item_id: str) -> None:
        """Make an item of the audio in the buffer."""
        item = committed_item(item_id, self._input.take())
        self._turn_id = None
        previous_id = self._conversation.last_id
        self._commands.send(
            "input_audio_buffer.committed", previous_item_id=previous_id, item_id=item_id
        )
        self._add(item)

    def _apply(self, turn_event: turns.TurnEvent | None) -> None:
        match turn_event:
            case turns.SpeechStarted(start_ms):
                self._turn_id = new_id("item")
                self._commands.send(
                    "input_audio_buffer.speech_started",
                    audio_start_ms=start_ms,
                    item_id=self._turn_id,
                )
                self._interrupt()
            case turns.SpeechPaused() if self._turn_id:
                self._commands.add(TranscribeTurn(self._turn_id, self._input.peek()))
            case turns.SpeechStopped(end_ms) if self._turn_id:
                self._commands.send(
                    "input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=self._turn_id
                )
                self._commit(self._turn_id)
                self._respond_to_turn()
            case turns.IdleTimeout(start_ms, end_ms):
                item_id = new_id("item")
                self._commands.send(
                    "input_audio_buffer.timeout_triggered",
                    audio_start_ms=start_ms,
                    audio_end_ms=end_ms,
                    item_id=item_id,
                )
                self._commit(item_id)
                self._respond_to_turn()

    def _interrupt(self) -> None:
        detection = self._input.detection
        if detection and detection.interrupt_response:
            self._responses.interrupt()

    def _respond_to_turn(self) -> None:
        detection = self._input.detection
        if detection is None or not detection.create_response:
            return
        try:
            self._create_response({})
        except RequestRefused as refused:
            self._refuse(refused, None)

    def _send_transcript(self, item: Item, index: int, transcript: str | None) -> None:
        settings = self.config["audio"]["input"]["transcription"]
        if settings is None:
            return
        if transcript is None:
            self._commands.send_all(transcript_failed(item, index))
            return
        item.json["content"][index]["transcript"] = transcript
        events = transcript_events(item, index, transcript, str(settings.get("model")))
        self._commands.send_all(events)

    # -- items

    def _create_item(self, client_event: Json) -> None:
        item = item_of(client_event["item"], self.config["audio"]["input"]["format"])
        self._add(item, after=client_event.get("previous_item_id"))

    def _add(self, item: Item, *, after: str | None = None) -> None:
        self._conversation.add(item, after=after)
        for change in ("added", "done"):
            self._commands.send(
                f"conversation.item.{change}",
                previous_item_id=self._conversation.previous_id(item),
                item=item.as_json(),
            )
        self._commands.add(*(TranscribeItem(item, index) for index in item.untranscribed))

    def _retrieve(self, client_event: Json) -> None:
        item = self._conversation.find(client_event["item_id"], "item_retrieve_invalid_item_id")
        item_json = item.as_json_with_audio(self.config["audio"])
        self._commands.send("conversation.item.retrieved", item=item_json)

    def _truncate(self, client_event: Json) -> None:
        names = ("item_id", "content_index", "audio_end_ms")
        self._conversation.truncate(*(client_event[name] for name in names))
        fields = {name: client_event[name] for name in names}
        self._commands.send("conversation.item.truncated", **fields)

    def _delete(self, client_event: Json) -> None:
        self._conversation.delete(client_event["item_id"])
        self._commands.send("conversation.item.deleted", item_id=client_event["item_id"])

    # -- responses

    def _create_response(self, client_event: Json) -> None:
        if self._transcribes_only:
            problem = "a transcription session gives no responses"
            raise RequestRefused("invalid_value", param="type", problem=problem)
        self._responses.create(client_event.get("response") or {}, self.config)

    def _cancel_response(self, client_event: Json) -> None:
        self._responses.cancel(client_event.get("response_id"))

    # Last, because the handlers must be defined before.
    _HANDLERS: ClassVar[Mapping[str, Callable[["SimulatedSession", Json], None]]] = (
        MappingProxyType(
            {
                "session.update": _update,
                "input_audio_buffer.append": _append,
                "input_audio_buffer.commit": _commit_by_client,
                "input_audio_buffer.clear": _clear,
                "conversation.item.create": _create_item,
                "conversation.item.truncate": _truncate,
                "conversation.item.delete": _delete,
                "conversation.item.retrieve": _retrieve,
                "response.create": _create_response,
                "response.cancel": _cancel_response,
            }
        )
    )
