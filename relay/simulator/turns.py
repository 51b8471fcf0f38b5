"""Turn detection: the beginning and the end of each turn, and its audio.

All times are positions in the audio: without audio, no time passes, as in the API.
"""

import re
from dataclasses import dataclass, field
from enum import Enum, auto

from relay.simulator.audio import milliseconds, pcm_bytes
from relay.simulator.errors import RequestRefused
from relay.simulator.json_text import Json

FRAME_BYTES = pcm_bytes(20)
MIN_COMMIT_MS = 100
# Audio outside a turn is kept for a commit by the client, but only this much.
_MAX_SILENCE_BYTES = pcm_bytes(30_000)
# Speech ends at a lower probability than it begins, so that a fading word does not end the turn.
_HYSTERESIS = 0.15
_SEMANTIC_THRESHOLD = 0.5
_SEMANTIC_PREFIX_MS = 300
_UNFINISHED_WORDS = (
    "a an and as at because but by for from if in is like of on or so than that the then to um "
    "umm uh uhm er hmm well when where which who with"
)
_UNFINISHED = frozenset(_UNFINISHED_WORDS.split())


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The user began to speak. ``start_ms`` includes the padding."""

    start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """The user may have finished: the words decide whether the turn is over."""


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The user's turn is over. ``end_ms`` includes the silence."""

    end_ms: int


@dataclass(frozen=True, slots=True)
class IdleTimeout:
    """The user has not spoken for ``idle_timeout_ms``."""

    start_ms: int
    end_ms: int


TurnEvent = SpeechStarted | SpeechPaused | SpeechStopped | IdleTimeout


@dataclass(frozen=True, slots=True)
class SemanticTiming:
    """The waiting times of semantic turn detection.

    Attributes:
        pause_ms: The silence after which the words are examined.
        max_ms: The silence after which the turn is over in any case.
    """

    pause_ms: int
    max_ms: int


_TIMING_BY_EAGERNESS = {
    "low": SemanticTiming(800, 8_000),
    "medium": SemanticTiming(500, 4_000),
    "auto": SemanticTiming(500, 4_000),
    "high": SemanticTiming(300, 2_000),
}


@dataclass(slots=True)
class TurnDetection:
    """The settings of one session; both types of detection have the same attributes.

    Attributes:
        threshold: The lowest probability that counts as speech.
        prefix_ms: The audio before the speech that belongs to the turn.
        pause_ms: The silence after which the words are examined; None means never.
        silence_ms: The silence after which the turn is over.
        idle_ms: The silence after a response that triggers ``IdleTimeout``; None means never.
        create_response: The end of a turn starts a response.
        interrupt_response: Speech cancels the running response.
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
        """Return the detection for the ``turn_detection`` of a session."""
        responses = {
            "create_response": settings.get("create_response", True),
            "interrupt_response": settings.get("interrupt_response", True),
        }
        if settings["type"] == "semantic_vad":
            timing = _TIMING_BY_EAGERNESS[settings["eagerness"]]
            return cls(
                threshold=_SEMANTIC_THRESHOLD,
                prefix_ms=_SEMANTIC_PREFIX_MS,
                pause_ms=timing.pause_ms,
                silence_ms=timing.max_ms,
                idle_ms=None,
                **responses,
            )
        return cls(
            threshold=settings["threshold"],
            prefix_ms=settings["prefix_padding_ms"],
            pause_ms=None,
            silence_ms=settings["silence_duration_ms"],
            idle_ms=settings.get("idle_timeout_ms"),
            **responses,
        )


class TurnState(Enum):
    """The state of the turn."""

    SILENT = auto()  # no turn is open
    SPEAKING = auto()
    PAUSED = auto()  # the user may have finished


@dataclass(slots=True)
class InputAudio:
    """The input audio buffer, and the state of turn detection.

    Attributes:
        detection: The settings; None if only the client commits.
        state: The state of the turn.
    """

    detection: TurnDetection | None
    state: TurnState = TurnState.SILENT
    _audio: bytearray = field(default_factory=bytearray)
    _unframed: bytearray = field(default_factory=bytearray)
    _end_bytes: int = 0  # all audio so far, without _unframed
    _silence_bytes: int = 0
    _idle_from_bytes: int | None = None

    def detect(self, detection: TurnDetection | None) -> None:
        """Use these settings from now on."""
        self.detection = detection
        if detection is None:
            self.state = TurnState.SILENT

    def append(self, pcm: bytes) -> list[bytes]:
        """Add audio; return its frames, for ``add_frame`` with their probability of speech."""
        if self.detection is None:
            self._keep(self._unframed + pcm)
            self._unframed.clear()
            return []
        self._unframed += pcm
        whole = len(self._unframed) // FRAME_BYTES * FRAME_BYTES
        framed = bytes(self._unframed[:whole])
        del self._unframed[:whole]
        return [framed[i : i + FRAME_BYTES] for i in range(0, whole, FRAME_BYTES)]

    def add_frame(self, frame: bytes, probability: float) -> TurnEvent | None:
        """Add a frame that is speech with this probability; return the change of the turn."""
        self._keep(frame)
        if self.detection is None:
            return None
        if self.state is not TurnState.SILENT:
            return self._continue(self.detection, len(frame), probability)
        if probability >= self.detection.threshold:
            return self._start(self.detection, len(frame))
        return self._check_idle(self.detection)

    def _keep(self, pcm: bytes | bytearray) -> None:
        self._audio += pcm
        self._end_bytes += len(pcm)
        if self.detection is not None and self.state is TurnState.SILENT:
            del self._audio[:-_MAX_SILENCE_BYTES]

    def _start(self, detection: TurnDetection, frame_bytes: int) -> SpeechStarted:
        del self._audio[: -(frame_bytes + pcm_bytes(detection.prefix_ms))]
        self.state, self._silence_bytes = TurnState.SPEAKING, 0
        self._idle_from_bytes = None
        return SpeechStarted(milliseconds(self._end_bytes - len(self._audio)))

    def _continue(
        self, detection: TurnDetection, frame_bytes: int, probability: float
    ) -> TurnEvent | None:
        if probability >= detection.threshold - _HYSTERESIS:
            self.state, self._silence_bytes = TurnState.SPEAKING, 0
            return None
        self._silence_bytes += frame_bytes
        silence_ms = milliseconds(self._silence_bytes)
        if silence_ms >= detection.silence_ms:
            return self.stop()
        is_speaking = self.state is TurnState.SPEAKING
        if is_speaking and detection.pause_ms and silence_ms >= detection.pause_ms:
            self.state = TurnState.PAUSED
            return SpeechPaused()
        return None

    def stop(self) -> SpeechStopped:
        """End the turn."""
        self.state = TurnState.SILENT
        return SpeechStopped(milliseconds(self._end_bytes))

    def _check_idle(self, detection: TurnDetection) -> IdleTimeout | None:
        if self._idle_from_bytes is None or detection.idle_ms is None:
            return None
        if self._end_bytes - self._idle_from_bytes < pcm_bytes(detection.idle_ms):
            return None
        timeout = IdleTimeout(milliseconds(self._idle_from_bytes), milliseconds(self._end_bytes))
        self._idle_from_bytes = None
        return timeout

    def start_idle_timer(self, playback_bytes: int) -> None:
        """Count silence after ``playback_bytes`` of a response's audio have been played."""
        self._idle_from_bytes = self._end_bytes + playback_bytes

    def peek(self) -> bytes:
        """Return the audio of the turn so far."""
        return bytes(self._audio)

    def require_enough(self) -> None:
        """Check that the client may commit.

        Raises:
            RequestRefused: There is less than 100 ms of audio.
        """
        length = len(self._audio) + len(self._unframed)
        if length < pcm_bytes(MIN_COMMIT_MS):
            milliseconds_held = length * 1000 / pcm_bytes(1000)
            raise RequestRefused("input_audio_buffer_commit_empty", milliseconds=milliseconds_held)

    def take(self) -> bytes:
        """Return the audio that is not committed yet, and remove it."""
        taken = bytes(self._audio + self._unframed)
        self._end_bytes += len(self._unframed)
        self.clear()
        return taken

    def clear(self) -> None:
        """Remove the audio and the open turn."""
        self._audio.clear()
        self._unframed.clear()
        self.state = TurnState.SILENT


def is_finished(transcript: str) -> bool:
    """Return whether the speaker has probably finished, judged by the end of the transcript."""
    last = re.findall(r"[\w']+", transcript.lower())[-1:]
    return not transcript.rstrip().endswith((",", "...", "-")) and not _UNFINISHED.issuperset(
        last or ["the"]
    )
