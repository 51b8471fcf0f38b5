"""What was cut off without a report: estimated from the audio that went by.

A second of a user's audio is 10 tokens and a second of the assistant's 20
(https://platform.openai.com/docs/guides/realtime-costs). The conversation before it, which a
response takes in once more, is not known and not in the estimate: it is a lower bound.

A transcription is estimated by the length of its turn: as turn detection told it, or else what was
heard since the last one, the silence before it included.
"""

from collections.abc import Iterator, Mapping
from math import ceil

from relay.core.events import Event
from relay.core.metering import Tokens, whole_number

TOKENS_PER_INPUT_SECOND = 10
TOKENS_PER_OUTPUT_SECOND = 20


def estimated_tokens(*, input_seconds: float, output_seconds: float) -> Tokens:
    """Return the tokens of so much audio, each way rounded up to a whole one."""
    return Tokens(
        input_audio=_tokens(input_seconds, TOKENS_PER_INPUT_SECOND),
        output_audio=_tokens(output_seconds, TOKENS_PER_OUTPUT_SECOND),
    )


def estimated_transcription(seconds: float) -> Tokens:
    """Return the tokens of the transcription of so much audio; its words are not known."""
    return Tokens(transcription_input=_tokens(seconds, TOKENS_PER_INPUT_SECOND))


def _tokens(seconds: float, per_second: int) -> int:
    # Sums of seconds carry the noise of binary fractions, which must not make a token.
    return ceil(round(seconds * per_second, 6))


class Underway:
    """The responses that have begun and are not reported, and the audio that belongs to them.

    The user's audio belongs to the response that begins after it; what was heard is told in seconds
    since the session began. The assistant's belongs to the response that began last: with two at
    once the split may be wrong, the sum is right.
    """

    def __init__(self) -> None:
        self._taken_seconds = 0.0
        self._input_seconds: dict[str, float] = {}
        self._output_seconds: dict[str, float] = {}

    def began(self, response_id: str, heard_seconds: float) -> None:
        """Note that a response has begun: it takes in what was heard until now."""
        self._input_seconds[response_id] = heard_seconds - self._taken_seconds
        self._output_seconds[response_id] = 0.0
        self._taken_seconds = heard_seconds

    def spoke(self, seconds: float) -> None:
        """Note audio of the assistant."""
        if self._output_seconds:
            self._output_seconds[next(reversed(self._output_seconds))] += seconds

    def reported(self, response_id: str) -> None:
        """Forget a response whose usage is known."""
        self._input_seconds.pop(response_id, None)
        self._output_seconds.pop(response_id, None)

    def __bool__(self) -> bool:
        return bool(self._output_seconds)

    def estimates(self) -> Iterator[tuple[str, Tokens]]:
        """Yield each response that was cut off, with its estimated tokens."""
        for response_id, seconds in self._output_seconds.items():
            heard = self._input_seconds[response_id]
            yield response_id, estimated_tokens(input_seconds=heard, output_seconds=seconds)


class Untranscribed:
    """The user's turns that are committed and not transcribed yet, and how long they are.

    What was heard is told in seconds since the session began. With several commits on their way
    the split between them may be wrong, the sum is right.
    """

    def __init__(self) -> None:
        self._taken_seconds = 0.0
        self._began_ms: dict[str, int] = {}
        self._spoken_seconds: dict[str, float] = {}
        self._turns: dict[str, float] = {}

    def began(self, started: Event) -> None:
        """Note where in the audio turn detection heard a turn begin."""
        self._began_ms[_turn(started)] = whole_number(started, "audio_start_ms")

    def ended(self, stopped: Event) -> None:
        """Note where it heard the turn end."""
        end_ms = whole_number(stopped, "audio_end_ms")
        spoken_ms = end_ms - self._began_ms.pop(_turn(stopped), end_ms)
        if spoken_ms > 0:
            self._spoken_seconds[_turn(stopped)] = spoken_ms / 1000

    def committed(self, committed: Event, heard_seconds: float) -> None:
        """Note that a turn is in the conversation, and is being transcribed."""
        since_the_last = heard_seconds - self._taken_seconds
        spoken = self._spoken_seconds.pop(_turn(committed), since_the_last)
        self._turns[_turn(committed)] = min(spoken, heard_seconds)
        self._taken_seconds = heard_seconds

    def cleared(self, heard_seconds: float) -> None:
        """Note that what was heard until now is thrown away."""
        self._taken_seconds = heard_seconds

    def reported(self, transcribed: Event) -> None:
        """Forget a turn whose transcription is over."""
        self._turns.pop(_turn(transcribed), None)

    def cut_off(self) -> Mapping[str, float]:
        """Return the turns that are left, with their lengths in seconds; from now on, none is."""
        left, self._turns = self._turns, {}
        return left


def _turn(event: Event) -> str:
    return str(event.get("item_id"))
