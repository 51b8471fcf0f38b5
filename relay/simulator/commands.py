"""Commands of a session: sending, waiting and computing are the work of the ``SessionRunner``."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from relay.simulator.conversation import Item
from relay.simulator.json_text import Json
from relay.simulator.response import Response
from relay.simulator.server_events import event


@dataclass(frozen=True, slots=True)
class SendEvent:
    """Send an event, ``after_seconds`` from now."""

    event: Json
    after_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class DetectSpeech:
    """Compute for each frame the probability of speech; answer with ``frame_scored``."""

    frames: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class TranscribeTurn:
    """Transcribe the audio of a turn that may be over; answer with ``turn_transcribed``."""

    turn_id: str
    pcm: bytes


@dataclass(frozen=True, slots=True)
class TranscribeItem:
    """Transcribe the audio of a content part; answer with ``item_transcribed``."""

    item: Item
    index: int


@dataclass(frozen=True, slots=True)
class StartResponse:
    """Start to stream a response; all audio in its prompt is transcribed. ``finish`` ends it."""

    response: Response


@dataclass(frozen=True, slots=True)
class StopResponse:
    """Stop streaming a response; the client already has its ``response.done``."""

    response: Response


SessionCommand = (
    SendEvent | DetectSpeech | TranscribeTurn | TranscribeItem | StartResponse | StopResponse
)


@dataclass(slots=True)
class CommandQueue:
    """The commands that one input to a session leads to, in order."""

    _commands: list[SessionCommand] = field(default_factory=list)

    def add(self, *commands: SessionCommand) -> None:
        """Add commands."""
        self._commands += commands

    def send(self, type_: str, **fields: object) -> None:
        """Add a command that sends an event of this type."""
        self.add(SendEvent(event(type_, **fields)))

    def send_all(self, events: Iterable[Json]) -> None:
        """Add commands that send the events."""
        self.add(*map(SendEvent, events))

    def take(self) -> list[SessionCommand]:
        """Return all commands, and remove them."""
        commands, self._commands = self._commands, []
        return commands
