"""How a call ends, and what the model is told when it does not end well.

The model gets words that it can act on or speak of. The cause is for the log: it names no
argument and no output, since either may be anybody's secret.
"""

from enum import StrEnum
from typing import ClassVar, Final

from relay.core.events import encode

MAX_OUTPUT_BYTES: Final = 65_536
"""What a tool may put out. It is some 16,000 tokens, half of what a model of 2026 remembers.

More is refused and not cut: half of a list reads like a list, and the model would speak of what is
missing in it as if it were not there."""


class Outcome(StrEnum):
    """How a call has ended: the closed set for the metric."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    INVALID_ARGUMENTS = "invalid_arguments"
    UNKNOWN_TOOL = "unknown_tool"
    TOO_MANY = "too_many"
    CANCELLED = "cancelled"


class ToolFault(Exception):
    """A call that did not end well.

    Attributes:
        outcome: how it ended.
        cause: why, for the log.
        words: what the model is told.
    """

    outcome: ClassVar[Outcome]
    words: str = ""

    def __init__(self, cause: str, words: str | None = None) -> None:
        self.cause = cause
        self.words = words or self.words
        super().__init__(cause)

    @property
    def output(self) -> str:
        """What the model gets in place of the tool's output."""
        return encode({"error": self.words}).decode()


class ToolFailed(ToolFault):
    """The tool has failed, or what it put out cannot be used."""

    outcome = Outcome.FAILED
    words = "The tool failed. Whether it took effect is not known."


class ToolTimeout(ToolFault):
    """The tool took too long."""

    outcome = Outcome.TIMEOUT
    words = "The tool did not answer in time. Whether it took effect is not known."


class InvalidArguments(ToolFault):
    """The arguments do not fit the schema of the tool."""

    outcome = Outcome.INVALID_ARGUMENTS


class UnknownTool(ToolFault):
    """There is no such tool."""

    outcome = Outcome.UNKNOWN_TOOL
    words = "There is no tool of this name."


class TooManyCalls(ToolFault):
    """Too many tools are running."""

    outcome = Outcome.TOO_MANY
    words = "Too many tools are running now, so it was not run. Try again in a moment."


def usable(output: str) -> str:
    """Return what a tool has put out.

    Raises:
        ToolFailed: it is too large, or no text: half a surrogate pair is none.
    """
    try:
        size = len(output.encode())
    except UnicodeEncodeError:
        raise ToolFailed("the output is not valid UTF-8", UNREADABLE) from None
    if size > MAX_OUTPUT_BYTES:
        raise ToolFailed(f"the output is larger than {MAX_OUTPUT_BYTES} bytes", TOO_LARGE)
    return output


UNREADABLE: Final = "The tool was run, but its output is not readable text."
TOO_LARGE: Final = "The tool was run, but its output is too large to be read. Ask for less."
