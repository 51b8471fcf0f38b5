"""The outcome of a call, and the text that is sent to the model when the call fails.

The model gets a text that it can act on or repeat. The cause is for the log: it contains no
argument and no output, since either may be a secret.
"""

from enum import StrEnum
from typing import ClassVar, Final

from relay.core.events import encode

MAX_OUTPUT_BYTES: Final = 65_536
"""The largest output of a tool. It is some 16,000 tokens, half of the context of a model of 2026.

The relay refuses a larger output and does not cut it: half of a list looks like a whole list, and
the model would take the missing entries as absent."""


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
    """A call that failed.

    Attributes:
        outcome: how it ended.
        cause: the reason, for the log.
        message: the text that is sent to the model.
    """

    outcome: ClassVar[Outcome]
    message: str = ""

    def __init__(self, cause: str, message: str | None = None) -> None:
        self.cause = cause
        self.message = message or self.message
        super().__init__(cause)

    @property
    def output(self) -> str:
        """The output that is sent to the model in place of the tool's output."""
        return encode({"error": self.message}).decode()


class ToolFailed(ToolFault):
    """The tool has failed, or its output cannot be used."""

    outcome = Outcome.FAILED
    message = "The tool failed. Whether it took effect is not known."


class ToolTimeout(ToolFault):
    """The tool took too long."""

    outcome = Outcome.TIMEOUT
    message = "The tool did not answer in time. Whether it took effect is not known."


class InvalidArguments(ToolFault):
    """The arguments do not fit the schema of the tool."""

    outcome = Outcome.INVALID_ARGUMENTS


class UnknownTool(ToolFault):
    """The persona has no tool of this name."""

    outcome = Outcome.UNKNOWN_TOOL
    message = "There is no tool of this name."


class TooManyCalls(ToolFault):
    """Too many tools are running."""

    outcome = Outcome.TOO_MANY
    message = "Too many tools are running now, so it was not run. Try again in a moment."


def checked_output(output: str) -> str:
    """Return the output of a tool.

    Raises:
        ToolFailed: it is larger than ``MAX_OUTPUT_BYTES``, or contains half a surrogate pair and
            so is not text.
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
