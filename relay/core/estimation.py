"""What a response cost that was cut off without a report: estimated from the audio that went by.

A second of a user's audio is 10 tokens and a second of the assistant's 20
(https://platform.openai.com/docs/guides/realtime-costs). The conversation before it, which a
response takes in once more, is not known and not in the estimate: it is a lower bound.
"""

from collections.abc import Iterator
from math import ceil

from relay.core.metering import Tokens

TOKENS_PER_INPUT_SECOND = 10
TOKENS_PER_OUTPUT_SECOND = 20


def estimated_tokens(*, input_seconds: float, output_seconds: float) -> Tokens:
    """Return the tokens of so much audio, each way rounded up to a whole one."""
    return Tokens(
        input_audio=_tokens(input_seconds, TOKENS_PER_INPUT_SECOND),
        output_audio=_tokens(output_seconds, TOKENS_PER_OUTPUT_SECOND),
    )


def _tokens(seconds: float, per_second: int) -> int:
    # Sums of seconds carry the noise of binary fractions, which must not make a token.
    return ceil(round(seconds * per_second, 6))


class Underway:
    """The responses that have begun and are not reported, and the audio that belongs to them.

    The user's audio belongs to the response that begins after it. The assistant's belongs to the
    response that began last: with two at once the split may be wrong, the sum is right.
    """

    def __init__(self) -> None:
        self._heard_seconds = 0.0
        self._input_seconds: dict[str, float] = {}
        self._output_seconds: dict[str, float] = {}

    def heard(self, seconds: float) -> None:
        """Note audio of the user."""
        self._heard_seconds += seconds

    def began(self, response_id: str) -> None:
        """Note that a response has begun: it takes in what was heard until now."""
        self._input_seconds[response_id] = self._heard_seconds
        self._output_seconds[response_id] = self._heard_seconds = 0.0

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
