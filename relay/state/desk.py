"""Serves the state to the workers: one desk for each worker."""

from collections.abc import Callable, Collection

from relay.core.errors import RelayError
from relay.state import State
from relay.state.messages import (
    Admit,
    Answer,
    Charge,
    Count,
    CountSessions,
    Done,
    Exhausted,
    Hold,
    Merge,
    Notice,
    Question,
    Refused,
    Release,
    Started,
)


class Desk:
    """Answers one worker, and gives back the places of its sessions when it has died."""

    def __init__(self, state: State, notify: Callable[[Exhausted], None]) -> None:
        """Use ``notify`` to send a message to the worker."""
        self._state = state
        self._notify = notify
        self._session_ids: set[str] = set()

    async def answer(self, question: Question) -> Answer:
        """Answer a message of the worker."""
        match question:
            case Admit():
                return await self._admit(question)
            case Charge(session_id=session_id, micros=micros):
                if session_id in self._session_ids:
                    await self._state.charge(session_id, micros)
            case CountSessions():
                return Count(await self._state.sessions())
        return Done()

    async def _admit(self, admit: Admit) -> Answer:
        # First, because the worker may send `Release` before the session is admitted.
        self._session_ids.add(admit.entry.session_id)
        try:
            await self._state.admit(admit.entry)
        except RelayError as error:
            self._session_ids.discard(admit.entry.session_id)
            return Refused.because(error)
        if admit.entry.session_id not in self._session_ids:
            self._state.release(admit.entry.session_id)
        return Done()

    def receive(self, notice: Notice) -> None:
        """Take a message of the worker that has no answer."""
        match notice:
            case Started(session_id=session_id):
                self._state.started(session_id)
            case Release(session_id=session_id):
                self._session_ids.discard(session_id)
                self._state.release(session_id)
            case Hold(session_id=session_id, micros=micros):
                if session_id in self._session_ids:
                    self._state.hold(session_id, micros)
            case Merge(spent=spent, day=day):
                self._state.merge(spent, day)

    def exhaust(self, session_ids: Collection[str]) -> None:
        """Let the worker end those of the sessions that are its own."""
        if own := self._session_ids.intersection(session_ids):
            self._notify(Exhausted(tuple(own)))

    def close(self) -> None:
        """Give back the places of all sessions of a worker that has died."""
        while self._session_ids:
            self._state.release(self._session_ids.pop())


class Desks:
    """The desks of all workers."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._desks: set[Desk] = set()
        state.on_exhausted = self._exhaust

    def open(self, notify: Callable[[Exhausted], None]) -> Desk:
        """Return the desk of a new worker; ``notify`` sends a message to it."""
        desk = Desk(self._state, notify)
        self._desks.add(desk)
        return desk

    def close(self, desk: Desk) -> None:
        """Close the desk of a worker that has exited."""
        self._desks.discard(desk)
        desk.close()

    def _exhaust(self, session_ids: Collection[str]) -> None:
        for desk in self._desks:
            desk.exhaust(session_ids)
