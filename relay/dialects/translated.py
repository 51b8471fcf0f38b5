"""Sessions whose peers speak another dialect than GA: translated at the edges, decided in GA.

::

    beta client  ->  inward   ->  Session  ->  outward  ->  beta upstream
    beta client  <-  outward  <-  Session  <-  inward   <-  beta upstream

A session between two GA peers is a plain ``Session`` and pays nothing for this.
"""

from typing import Final, Protocol

from relay.core.commands import NOTHING, CallTool, Command, Commands, End, Send, Side
from relay.core.events import Event
from relay.core.session import Receiver, Session
from relay.core.terms import Terms


class Dialect(Protocol):
    """The dialect of one peer; it may remember earlier messages."""

    def inward(self, raw: bytes) -> tuple[bytes, ...]:
        """Return a message of the peer in GA: one message or more."""
        ...

    def outward(self, raw: bytes) -> bytes | None:
        """Return a GA message as the peer reads it; None if its dialect cannot express it."""
        ...


class Ga:
    """The dialect of the session itself."""

    def inward(self, raw: bytes) -> tuple[bytes, ...]:
        """Return the message."""
        return (raw,)

    def outward(self, raw: bytes) -> bytes:
        """Return the message."""
        return raw


GA: Final = Ga()


class Translated(Session):
    """A session that has at least one peer of another dialect.

    Its end needs no translation: the relay's own errors are the same in all dialects.
    """

    def __init__(
        self, terms: Terms, confirmed: Event, *, now: float, client: Dialect, upstream: Dialect
    ) -> None:
        """Start with the session object that the upstream confirmed, in GA."""
        super().__init__(terms, confirmed, now=now)
        self._dialects = {Side.CLIENT: client, Side.UPSTREAM: upstream}

    def open(self, now: float) -> Commands:
        """Open the session as any other."""
        return self._outward(super().open(now))

    def receiver(self, side: Side) -> Receiver:
        """Return the function that decides on the messages of one side, in their dialect."""
        inward, decide = self._dialects[side].inward, super().receiver(side)

        def receive(raw: bytes, now: float) -> Commands:
            commands = NOTHING
            for message in inward(raw):
                commands += decide(message, now)
            return self._outward(commands)

        return receive

    def tool_finished(self, call: CallTool, output: str) -> Commands:
        """Take the output of a tool."""
        return self._outward(super().tool_finished(call, output))

    def settle(self, end: End, now: float) -> Commands:
        """Cancel the responses in progress after the end."""
        return self._outward(super().settle(end, now))

    def record_late(self, raw: bytes, now: float) -> Commands:
        """Return the records of the usage that the upstream reports after the end."""
        commands = NOTHING
        for message in self._dialects[Side.UPSTREAM].inward(raw):
            commands += super().record_late(message, now)
        return self._outward(commands)

    def _outward(self, commands: Commands) -> Commands:
        translated = [self._translate(command) for command in commands]
        return tuple([command for command in translated if command is not None])

    def _translate(self, command: Command) -> Command | None:
        """Return a command with its message as the peer reads it; None if no message is left."""
        if not isinstance(command, Send):
            return command
        message = self._dialects[command.to].outward(command.message)
        return None if message is None else Send(command.to, message)


def start(
    terms: Terms, confirmed: Event, *, now: float, client: Dialect, upstream: Dialect
) -> Session:
    """Start a session between peers that speak these dialects."""
    if isinstance(client, Ga) and isinstance(upstream, Ga):
        return Session(terms, confirmed, now=now)
    return Translated(terms, confirmed, now=now, client=client, upstream=upstream)
