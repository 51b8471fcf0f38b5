"""Estimates of usage without a report, from everything that passed through the relay.

A second of the user's audio is 10 tokens, and a second of the assistant's audio is 20
(https://platform.openai.com/docs/guides/realtime-costs). Four characters of text are a token
(https://help.openai.com/en/articles/4936856). The input of a response also contains the
conversation before it: the input and the output of the response that was reported last. Before any
report it is the prompt of the persona. How much of it the upstream has cached is unknown, so none
of it counts as cached.

The estimate of a transcription is the length of its turn. Turn detection reports the length.
Without that, it is the audio received since the previous turn, with the silence before the turn.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil

from relay.core.audio import audio_bytes
from relay.core.events import Event, Json
from relay.core.ids import bounded
from relay.core.recent import Recent
from relay.core.tokens import Tokens
from relay.core.usage import whole_number

TOKENS_PER_INPUT_SECOND = 10
TOKENS_PER_OUTPUT_SECOND = 20
CHARS_PER_TOKEN = 4

_NO_TEXT = frozenset(
    {"type", "id", "event_id", "call_id", "role", "status", "object", "image_url", "metadata"}
)
"""Fields of an event that are no text for the model."""


def estimated_tokens(
    *,
    input_seconds: float = 0.0,
    output_seconds: float = 0.0,
    input_chars: int = 0,
    output_chars: int = 0,
) -> Tokens:
    """Return the tokens for audio and text of these lengths, each rounded up to a whole token."""
    return Tokens(
        input_text=ceil(input_chars / CHARS_PER_TOKEN),
        input_audio=_tokens(input_seconds, TOKENS_PER_INPUT_SECOND),
        output_text=ceil(output_chars / CHARS_PER_TOKEN),
        output_audio=_tokens(output_seconds, TOKENS_PER_OUTPUT_SECOND),
    )


def estimated_transcription(seconds: float) -> Tokens:
    """Return the input tokens to transcribe ``seconds`` of audio; the output is unknown."""
    return Tokens(transcription_input=_tokens(seconds, TOKENS_PER_INPUT_SECOND))


def _tokens(seconds: float, per_second: int) -> int:
    # Sums of seconds have rounding errors of binary fractions, which must not add a token.
    return ceil(round(seconds * per_second, 6))


def text_and_audio(value: Json, key: str = "") -> tuple[int, int]:
    """Return the characters of text and the bytes of audio in a part of a client event."""
    if key in _NO_TEXT:
        return 0, 0
    if isinstance(value, str):
        is_audio = key == "audio"
        return (0, audio_bytes(len(value), value.count("="))) if is_audio else (len(value), 0)
    if isinstance(value, dict):
        lengths = [text_and_audio(item, name) for name, item in value.items()]
    elif isinstance(value, list):
        lengths = [text_and_audio(item, key) for item in value]
    else:
        return 0, 0
    return sum(chars for chars, _ in lengths), sum(audio for _, audio in lengths)


@dataclass(slots=True)
class Progress:
    """The audio and text of one response: its new input, and its output until now."""

    input_seconds: float
    input_chars: int
    output_seconds: float = 0.0
    output_chars: int = 0


class Underway:
    """The responses that began and are not reported yet, with their audio and text.

    Input of the user belongs to the first response that begins after it. Output of the assistant
    belongs to the response that began last: with two responses at once the split may be wrong, and
    the sum is right. ``received_seconds`` is the audio of the user since the start of the session.
    """

    def __init__(self, prompt_chars: int = 0) -> None:
        """Start with a prompt of this length as the whole conversation."""
        self._context = estimated_tokens(input_chars=prompt_chars)
        self._assigned_seconds = 0.0
        self._unassigned_chars = 0
        self._made: dict[str, Progress] = {}
        self._requested: list[Progress] = []

    def received(self, chars: int) -> None:
        """Note text that is sent to the upstream: of the user, or the output of a tool."""
        self._unassigned_chars += chars

    def began(self, response_id: str, received_seconds: float) -> None:
        """Note a new response; its input is the audio and text since the previous one."""
        if response_id not in self._made:
            self._made[response_id] = self._begin(received_seconds)

    def requested(self, received_seconds: float) -> None:
        """Note a response that was requested, and whose begin the upstream has not reported."""
        self._requested.append(self._begin(received_seconds))

    def _begin(self, received_seconds: float) -> Progress:
        new = Progress(received_seconds - self._assigned_seconds, self._unassigned_chars)
        self._assigned_seconds, self._unassigned_chars = received_seconds, 0
        return new

    def sent(self, seconds: float) -> None:
        """Note audio of the assistant that was sent to the client."""
        if self._made:
            self._made[next(reversed(self._made))].output_seconds += seconds

    def wrote(self, chars: int) -> None:
        """Note text of the assistant: an answer, a transcript, or the arguments of a call."""
        if self._made:
            self._made[next(reversed(self._made))].output_chars += chars

    def reported(self, response_id: str) -> Progress:
        """Forget a response that is reported; return its audio and text."""
        return self._made.pop(response_id, None) or Progress(0.0, 0)

    def learn(self, tokens: Tokens) -> None:
        """Take the input and the output of a response as the conversation before the next one."""
        self._context = Tokens(
            input_text=tokens.input_text + tokens.cached_text + tokens.output_text,
            input_audio=tokens.input_audio + tokens.cached_audio + tokens.output_audio,
            input_image=tokens.input_image + tokens.cached_image,
        )

    def __len__(self) -> int:
        return len(self._made)

    def __contains__(self, response_id: str) -> bool:
        return response_id in self._made

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the responses."""
        return tuple(self._made)

    def estimates(self) -> Iterator[tuple[str, Tokens]]:
        """Yield the id and the estimated tokens of each response without a report."""
        for response_id, made in self._made.items():
            yield response_id, self.estimate(made)
        for number, made in enumerate(self._requested, start=1):
            yield f"requested_{number}", self.estimate(made)

    def outstanding(self, requests: int, received_seconds: float) -> Iterator[Tokens]:
        """Yield the estimates of the responses, and of as many requests."""
        yield from (tokens for _, tokens in self.estimates())
        new_seconds = received_seconds - self._assigned_seconds
        new = Progress(new_seconds, self._unassigned_chars)
        for _ in range(requests):
            yield self.estimate(new)
            new = Progress(0.0, 0)

    def cut_off(self) -> tuple[tuple[str, Tokens], ...]:
        """Return the estimates, and forget these responses."""
        estimates = tuple(self.estimates())
        self._made.clear()
        self._requested.clear()
        return estimates

    def estimate(self, made: Progress) -> Tokens:
        """Return the estimated tokens of a response, with the conversation before it."""
        return self._context + estimated_tokens(
            input_seconds=made.input_seconds,
            output_seconds=made.output_seconds,
            input_chars=made.input_chars,
            output_chars=made.output_chars,
        )


class Untranscribed:
    """The turns of the user that are committed and not transcribed yet, with their lengths.

    With several commits in progress the split between them may be wrong, and the sum is right.
    ``received_seconds`` is the audio of the user since the start of the session.

    An item id can be used again. So each commit and each creation of an item allows one more
    transcription with its id, and a transcription that none of them allows is a repetition.
    """

    def __init__(self) -> None:
        self._assigned_seconds = 0.0
        self._began_ms: Recent[int] = Recent()
        self._detected_seconds: Recent[float] = Recent()
        self._turns: dict[str, list[float]] = {}
        self._allowed: Counter[str] = Counter()
        self._transcribed: Counter[str] = Counter()
        self._parts: Counter[tuple[str, int]] = Counter()

    def began(self, started: Event) -> None:
        """Note the position in the audio at which turn detection reports the begin of a turn."""
        self._began_ms.note(_turn(started), whole_number(started, "audio_start_ms"))

    def ended(self, stopped: Event) -> None:
        """Note the position in the audio at which turn detection reports the end of a turn."""
        end_ms = whole_number(stopped, "audio_end_ms")
        length_ms = end_ms - self._began_ms.pop(_turn(stopped), end_ms)
        if length_ms > 0:
            self._detected_seconds.note(_turn(stopped), length_ms / 1000)

    def created(self, item_id: str) -> None:
        """Note an item with audio that the client creates itself."""
        self._allowed[bounded(item_id)] += 1

    def committed(
        self, committed: Event, received_seconds: float, *, is_transcribed: bool = True
    ) -> None:
        """Note a turn that is in the conversation, and whether the upstream transcribes it."""
        turn = _turn(committed)
        seconds = received_seconds - self._assigned_seconds
        detected = self._detected_seconds.pop(turn, seconds)
        self._assigned_seconds = received_seconds
        self._allowed[turn] += 1
        # A transcription may arrive before the commit that it belongs to.
        if is_transcribed and self._allowed[turn] > self._transcribed[turn]:
            self._turns.setdefault(turn, []).append(min(detected, received_seconds))

    def is_committed(self, transcribed: Event) -> bool:
        """Return whether the turn of a transcription is known from its commit."""
        return _turn(transcribed) in self._allowed

    def cleared(self, received_seconds: float) -> None:
        """Note that the audio received until now is discarded."""
        self._assigned_seconds = received_seconds

    def reported(self, transcribed: Event) -> float | None:
        """Forget a turn that was transcribed; return its length in seconds.

        The length is 0 if no commit was seen. It is None for a repeated report.
        """
        turn = _turn(transcribed)
        if not isinstance(transcribed.get("item_id"), str):
            return self._take(turn)
        part = turn, whole_number(transcribed, "content_index")
        if self._parts[part] >= max(1, self._allowed[turn]):
            return None
        self._parts[part] += 1
        if self._parts[part] <= self._transcribed[turn]:
            return 0.0  # another part of the item has taken the length
        self._transcribed[turn] += 1
        return self._take(turn)

    def failed(self, failed: Event) -> None:
        """Forget a turn that the upstream could not transcribe."""
        turn = _turn(failed)
        if self._allowed[turn]:
            self._allowed[turn] -= 1
        self._take(turn)

    def _take(self, turn: str) -> float:
        lengths = self._turns.get(turn)
        if not lengths:
            return 0.0
        seconds = lengths.pop(0)
        if not lengths:
            del self._turns[turn]
        return seconds

    def __len__(self) -> int:
        return len(self._turns)

    def outstanding_seconds(self, *, commits: int, received_seconds: float) -> float:
        """Return the length of the turns, and of the audio that is to be committed."""
        committing = received_seconds - self._assigned_seconds if commits else 0.0
        return sum(map(sum, self._turns.values())) + committing

    def cut_off(self) -> Mapping[str, float]:
        """Return the length in seconds of the turns of each item, and forget these turns."""
        left = {turn: sum(lengths) for turn, lengths in self._turns.items()}
        for turn in left:
            self._transcribed[turn] = self._parts[turn, 0] = self._allowed[turn]
        self._turns = {}
        return left


def _turn(event: Event) -> str:
    return bounded(str(event.get("item_id")))
