"""The sessions that are open in the ledger, so that a new file can continue their books.

Reports that were written to an earlier file stay there. In the new file, the reports of a session
are numbered from 1 again.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from relay.ledger.entries import Entry, SessionEnd, SessionReport, SessionStart


@dataclass(slots=True)
class _OpenSession:
    """A session without an end.

    Attributes:
        written: the number of its reports in all files.
        earlier: the number of its reports in earlier files.
    """

    start: SessionStart
    written: int = 0
    earlier: int = 0


class OpenSessions:
    """Follows the entries that are written, and adapts later ones to the file."""

    def __init__(self) -> None:
        self._open: dict[str, _OpenSession] = {}

    def note(self, entries: Sequence[Entry]) -> None:
        """Note entries that were written."""
        for entry in entries:
            session = self._open.get(entry.session_id)
            match entry:
                case SessionStart() if session is None:
                    self._open[entry.session_id] = _OpenSession(entry)
                case SessionReport() if session is not None:
                    session.written = max(session.written, entry.number)
                case SessionEnd():  # pragma: no branch  # the rest is of unknown sessions
                    self._open.pop(entry.session_id, None)

    def missing_starts(self, connection: sqlite3.Connection) -> list[Entry]:
        """Return the starts that a file does not have, and count its reports of each session."""
        missing: list[Entry] = []
        for session_id, session in self._open.items():
            row = connection.execute(_COUNT, (session_id,)).fetchone()
            session.earlier = session.written - (row[0] if row else 0)
            if row is None:
                missing.append(session.start)
        return missing

    def adapt(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        """Yield the entries with the numbers of this file, without those of earlier files."""
        for entry in entries:
            session = self._open.get(entry.session_id)
            earlier = session.earlier if session else 0
            if isinstance(entry, SessionReport) and earlier:
                if entry.number > earlier:
                    yield replace(entry, number=entry.number - earlier)
            elif isinstance(entry, SessionEnd) and entry.reports_made is not None:
                yield replace(entry, reports_made=entry.reports_made - earlier)
            else:
                yield entry


_COUNT = "SELECT reports FROM sessions WHERE session_id = ?"
