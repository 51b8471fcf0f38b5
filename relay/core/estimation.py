"""Estimates of usage without a report, from the audio that the relay passed on.

A second of the user's audio is 10 tokens, and a second of the assistant's audio is 20
(https://platform.openai.com/docs/guides/realtime-costs). Each response also takes the conversation
before it as input. Its size is unknown and not in the estimate, so the estimate is a lower bound.

The estimate of a transcription is the length of its turn. Turn detection reports the length.
Without that, it is the audio received since the previous turn, with the silence before the turn.
"""

from collections.abc import Iterator, Mapping
from math import ceil

from relay.core.events import Event
from relay.core.tokens import Tokens, whole_number

TOKENS_PER_INPUT_SECOND = 10
TOKENS_PER_OUTPUT_SECOND = 20


def estimated_tokens(*, input_seconds: float, output_seconds: float) -> Tokens:
    """Return the tokens for audio of these lengths, each rounded up to a whole token."""
    return Tokens(
        input_audio=_tokens(input_seconds, TOKENS_PER_INPUT_SECOND),
        output_audio=_tokens(output_seconds, TOKENS_PER_OUTPUT_SECOND),
    )


def estimated_transcription(seconds: float) -> Tokens:
    """Return the input tokens to transcribe ``seconds`` of audio; the output is unknown."""
    return Tokens(transcription_input=_tokens(seconds, TOKENS_PER_INPUT_SECOND))


def _tokens(seconds: float, per_second: int) -> int:
    # Sums of seconds have rounding errors of binary fractions, which must not add a token.
    return ceil(round(seconds * per_second, 6))


class Underway:
    """The responses that began and are not reported yet, with their audio.

    Audio of the user belongs to the first response that begins after it. Audio of the assistant
    belongs to the response that began last: with two responses at once the split may be wrong, and
    the sum is right. ``received_seconds`` is the audio of the user since the start of the session.
    """

    def __init__(self) -> None:
        self._assigned_seconds = 0.0
        self._input_seconds: dict[str, float] = {}
        self._output_seconds: dict[str, float] = {}

    def began(self, response_id: str, received_seconds: float) -> None:
        """Note a new response; its input is the audio received since the previous one."""
        self._input_seconds[response_id] = received_seconds - self._assigned_seconds
        self._output_seconds[response_id] = 0.0
        self._assigned_seconds = received_seconds

    def sent(self, seconds: float) -> None:
        """Note audio of the assistant that was sent to the client."""
        if self._output_seconds:
            self._output_seconds[next(reversed(self._output_seconds))] += seconds

    def reported(self, response_id: str) -> None:
        """Forget a response whose usage is known."""
        self._input_seconds.pop(response_id, None)
        self._output_seconds.pop(response_id, None)

    def __bool__(self) -> bool:
        return bool(self._output_seconds)

    def estimates(self) -> Iterator[tuple[str, Tokens]]:
        """Yield the id and the estimated tokens of each response without a report."""
        for response_id, seconds in self._output_seconds.items():
            received = self._input_seconds[response_id]
            yield response_id, estimated_tokens(input_seconds=received, output_seconds=seconds)


class Untranscribed:
    """The turns of the user that are committed and not transcribed yet, with their lengths.

    With several commits in progress the split between them may be wrong, and the sum is right.
    ``received_seconds`` is the audio of the user since the start of the session.
    """

    def __init__(self) -> None:
        self._assigned_seconds = 0.0
        self._began_ms: dict[str, int] = {}
        self._detected_seconds: dict[str, float] = {}
        self._turns: dict[str, float] = {}

    def began(self, started: Event) -> None:
        """Note the position in the audio at which turn detection reports the begin of a turn."""
        self._began_ms[_turn(started)] = whole_number(started, "audio_start_ms")

    def ended(self, stopped: Event) -> None:
        """Note the position in the audio at which turn detection reports the end of a turn."""
        end_ms = whole_number(stopped, "audio_end_ms")
        length_ms = end_ms - self._began_ms.pop(_turn(stopped), end_ms)
        if length_ms > 0:
            self._detected_seconds[_turn(stopped)] = length_ms / 1000

    def committed(self, committed: Event, received_seconds: float) -> None:
        """Note a turn that is in the conversation, so that the upstream transcribes it."""
        since_previous = received_seconds - self._assigned_seconds
        detected = self._detected_seconds.pop(_turn(committed), since_previous)
        self._turns[_turn(committed)] = min(detected, received_seconds)
        self._assigned_seconds = received_seconds

    def cleared(self, received_seconds: float) -> None:
        """Note that the audio received until now is discarded."""
        self._assigned_seconds = received_seconds

    def reported(self, transcribed: Event) -> None:
        """Forget a turn whose transcription has completed or failed."""
        self._turns.pop(_turn(transcribed), None)

    def cut_off(self) -> Mapping[str, float]:
        """Return the length in seconds of each turn that is left, and forget these turns."""
        left, self._turns = self._turns, {}
        return left


def _turn(event: Event) -> str:
    return str(event.get("item_id"))
