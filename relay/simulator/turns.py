"""Where a turn begins and ends, and the audio that belongs to it.

Time is the audio's own: it stands still when no audio comes, as it does in the API.
"""

from dataclasses import dataclass, field

from relay.simulator.audio import milliseconds, pcm_bytes
from relay.simulator.errors import Json, Refused

FRAME_BYTES = pcm_bytes(20)
MIN_COMMIT_MS = 100
# What was said before the user spoke up is kept for a commit by hand, but not for ever.
_MAX_SILENCE_BYTES = pcm_bytes(30_000)
# Speech goes on a little below the threshold at which it began, so that it is not chopped up.
_HYSTERESIS = 0.15
_SEMANTIC_THRESHOLD = 0.5
_SEMANTIC_PREFIX_MS = 300


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The user speaks. ``start_ms`` includes the padding."""

    start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """The user may be done: what was said decides whether to wait."""


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The user's turn is over. ``end_ms`` includes the silence."""

    end_ms: int


@dataclass(frozen=True, slots=True)
class IdleTimeout:
    """Nobody has spoken for too long."""

    start_ms: int
    end_ms: int


TurnEvent = SpeechStarted | SpeechPaused | SpeechStopped | IdleTimeout


@dataclass(frozen=True, slots=True)
class Patience:
    """How long semantic turn detection waits: before it weighs the words, and at most."""

    pause_ms: int
    max_ms: int


_PATIENCE = {
    "low": Patience(800, 8_000),
    "medium": Patience(500, 4_000),
    "auto": Patience(500, 4_000),
    "high": Patience(300, 2_000),
}


@dataclass(slots=True)
class TurnDetection:
    """The settings of one session, both kinds brought to the same terms.

    Attributes:
        threshold: The probability from which on it is speech.
        prefix_ms: How much audio before the speech belongs to the turn.
        pause_ms: The silence after which the words are weighed; never, if it is None.
        silence_ms: The silence after which the turn is over.
        idle_ms: How long nobody may speak after a response; for ever, if it is None.
        create_response: The end of a turn asks for a response.
        interrupt_response: Speech cancels the response that is running.
    """

    threshold: float
    prefix_ms: int
    pause_ms: int | None
    silence_ms: int
    idle_ms: int | None
    create_response: bool
    interrupt_response: bool

    @classmethod
    def of(cls, settings: Json) -> "TurnDetection":
        """Return the detection that ``turn_detection`` of a session asks for."""
        answering = {
            "create_response": settings.get("create_response", True),
            "interrupt_response": settings.get("interrupt_response", True),
        }
        if settings["type"] == "semantic_vad":
            patience = _PATIENCE[settings["eagerness"]]
            return cls(
                threshold=_SEMANTIC_THRESHOLD,
                prefix_ms=_SEMANTIC_PREFIX_MS,
                pause_ms=patience.pause_ms,
                silence_ms=patience.max_ms,
                idle_ms=None,
                **answering,
            )
        return cls(
            threshold=settings["threshold"],
            prefix_ms=settings["prefix_padding_ms"],
            pause_ms=None,
            silence_ms=settings["silence_duration_ms"],
            idle_ms=settings.get("idle_timeout_ms"),
            **answering,
        )


@dataclass(slots=True)
class InputAudio:
    """The input audio buffer, and what turn detection knows about it.

    Attributes:
        detection: How turns are found; by the client alone, if it is None.
        speaking: A turn is open.
    """

    detection: TurnDetection | None
    speaking: bool = False
    _audio: bytearray = field(default_factory=bytearray)
    _unframed: bytearray = field(default_factory=bytearray)
    _end_bytes: int = 0  # of all audio that was ever appended and framed
    _silence_bytes: int = 0
    _paused: bool = False
    _idle_from_bytes: int | None = None

    def detect(self, detection: TurnDetection | None) -> None:
        """Find turns in another way from now on."""
        self.detection = detection
        if detection is None:
            self.speaking = self._paused = False

    def append(self, pcm: bytes) -> list[bytes]:
        """Take audio in; return the frames that turn detection is to hear."""
        if self.detection is None:
            self._keep(self._unframed + pcm)
            self._unframed.clear()
            return []
        self._unframed += pcm
        whole = len(self._unframed) // FRAME_BYTES * FRAME_BYTES
        framed = bytes(self._unframed[:whole])
        del self._unframed[:whole]
        return [framed[i : i + FRAME_BYTES] for i in range(0, whole, FRAME_BYTES)]

    def hear(self, frame: bytes, probability: float) -> TurnEvent | None:
        """Take in a frame that is speech with this probability; return what it changes."""
        self._keep(frame)
        if self.detection is None:
            return None
        if self.speaking:
            return self._hear_speaker(self.detection, len(frame), probability)
        if probability >= self.detection.threshold:
            return self._start(self.detection, len(frame))
        return self._wait(self.detection)

    def _keep(self, pcm: bytes | bytearray) -> None:
        self._audio += pcm
        self._end_bytes += len(pcm)
        if self.detection is not None and not self.speaking:
            del self._audio[:-_MAX_SILENCE_BYTES]

    def _start(self, detection: TurnDetection, frame_bytes: int) -> SpeechStarted:
        del self._audio[: -(frame_bytes + pcm_bytes(detection.prefix_ms))]
        self.speaking, self._silence_bytes, self._paused = True, 0, False
        self._idle_from_bytes = None
        return SpeechStarted(milliseconds(self._end_bytes - len(self._audio)))

    def _hear_speaker(
        self, detection: TurnDetection, frame_bytes: int, probability: float
    ) -> TurnEvent | None:
        if probability >= detection.threshold - _HYSTERESIS:
            self._silence_bytes, self._paused = 0, False
            return None
        self._silence_bytes += frame_bytes
        silence_ms = milliseconds(self._silence_bytes)
        if silence_ms >= detection.silence_ms:
            return self.stop()
        if not self._paused and detection.pause_ms and silence_ms >= detection.pause_ms:
            self._paused = True
            return SpeechPaused()
        return None

    @property
    def paused(self) -> bool:
        """The user may be done, and has said nothing since."""
        return self.speaking and self._paused

    def stop(self) -> SpeechStopped:
        """End the turn."""
        self.speaking = False
        return SpeechStopped(milliseconds(self._end_bytes))

    def _wait(self, detection: TurnDetection) -> IdleTimeout | None:
        if self._idle_from_bytes is None or detection.idle_ms is None:
            return None
        if self._end_bytes - self._idle_from_bytes < pcm_bytes(detection.idle_ms):
            return None
        timeout = IdleTimeout(milliseconds(self._idle_from_bytes), milliseconds(self._end_bytes))
        self._idle_from_bytes = None
        return timeout

    def expect_speech(self, playback_bytes: int) -> None:
        """Start to count silence, once so much audio of a response has been played."""
        self._idle_from_bytes = self._end_bytes + playback_bytes

    def peek(self) -> bytes:
        """Return the audio of the turn so far."""
        return bytes(self._audio)

    def require_enough(self) -> None:
        """Check that a client may commit.

        Raises:
            Refused: There is less than 100 ms of audio.
        """
        length = len(self._audio) + len(self._unframed)
        if length < pcm_bytes(MIN_COMMIT_MS):
            milliseconds_held = length * 1000 / pcm_bytes(1000)
            raise Refused("input_audio_buffer_commit_empty", milliseconds=milliseconds_held)

    def take(self) -> bytes:
        """Return the audio that is not committed yet, and begin anew."""
        taken = bytes(self._audio + self._unframed)
        self._end_bytes += len(self._unframed)
        self.clear()
        return taken

    def clear(self) -> None:
        """Forget the audio and the open turn."""
        self._audio.clear()
        self._unframed.clear()
        self.speaking = self._paused = False
