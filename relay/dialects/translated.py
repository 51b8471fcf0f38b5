"""Sessions whose peers speak another dialect than GA: translated at the edges, decided on inside.

::

    beta client  ->  inward   ->  Session  ->  outward  ->  beta upstream
    beta client  <-  outward  <-  Session  <-  inward   <-  beta upstream

A session between two peers that speak GA is a plain one, and pays nothing.
"""

from typing import Final, Protocol

from relay.core.commands import CallTool, Command, Send, Side
from relay.core.events import Event
from relay.core.session import NOTHING, Commands, Session
from relay.core.terms import Terms


class Dialect(Protocol):
    """What one peer speaks; it may remember what was said."""

    def inward(self, raw: bytes) -> tuple[bytes, ...]:
        """Return what the peer says, in GA: one message, or more."""
        ...

    def outward(self, raw: bytes) -> bytes | None:
        """Return what the peer is told, as it reads it; None for what it cannot be told."""
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
    """A session of which at least one peer speaks another dialect.

    How it ends needs no translation: errors of the relay's own are the same in all of them.
    """

    def __init__(
        self, terms: Terms, confirmed: Event, *, now: float, client: Dialect, upstream: Dialect
    ) -> None:
        """Start with the session object that the upstream confirmed, in GA."""
        super().__init__(terms, confirmed, now=now)
        self._dialects = {Side.CLIENT: client, Side.UPSTREAM: upstream}

    def open(self, now: float) -> Commands:
        """As of any session."""
        return self._outward(super().open(now))

    def receive(self, side: Side, raw: bytes, now: float) -> Commands:
        """As of any session."""
        commands = NOTHING
        for said in self._dialects[side].inward(raw):
            commands += super().receive(side, said, now)
        return self._outward(commands)

    def tool_finished(self, call: CallTool, output: str) -> Commands:
        """As of any session."""
        return self._outward(super().tool_finished(call, output))

    def overhear(self, raw: bytes, now: float) -> Commands:
        """As of any session."""
        commands = NOTHING
        for said in self._dialects[Side.UPSTREAM].inward(raw):
            commands += super().overhear(said, now)
        return commands

    def _outward(self, commands: Commands) -> Commands:
        translated = [self._translate(command) for command in commands]
        return tuple([command for command in translated if command is not None])

    def _translate(self, command: Command) -> Command | None:
        """Return a command with its message as the peer reads it; None when there is none left."""
        if not isinstance(command, Send):
            return command
        told = self._dialects[command.to].outward(command.message)
        return None if told is None else Send(command.to, told)


def start(
    terms: Terms, confirmed: Event, *, now: float, client: Dialect, upstream: Dialect
) -> Session:
    """Start a session between peers that speak these dialects."""
    if isinstance(client, Ga) and isinstance(upstream, Ga):
        return Session(terms, confirmed, now=now)
    return Translated(terms, confirmed, now=now, client=client, upstream=upstream)
