"""The stream of the log: a thread writes the lines, so the log delays no session.

A pipe that is not read blocks a write, and a full disk or a closed pipe fails it. The thread
waits in such a write, and the event loop never does: lines that find no place are dropped and
counted.
"""

import os
import select
from contextlib import suppress
from queue import Full, Queue
from threading import Thread
from types import TracebackType
from typing import Self, TextIO

MAX_WAITING_LINES = 1_000
"""More lines than this are dropped."""

CLOSE_SECONDS = 2.0
"""How long the end of the process waits for lines that are not written."""


class LogStream:
    """Writes lines to the file of a stream; a stream without a file is written at once.

    Attributes:
        dropped: the number of lines that were not written.
    """

    def __init__(self, stream: TextIO) -> None:
        self.dropped = 0
        self._stream = stream
        self._file = _file_of(stream)
        self._lines: Queue[str | None] = Queue(MAX_WAITING_LINES)
        self._is_torn = False
        self._is_abandoned = False
        # A daemon, so that a write that hangs does not keep the process.
        self._thread = Thread(target=self._write_lines, name="log", daemon=True)

    def __enter__(self) -> Self:
        if self._file is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            with suppress(Full):
                self._lines.put(None, timeout=CLOSE_SECONDS)
            self._thread.join(CLOSE_SECONDS)
            self._is_abandoned = True

    def write(self, line: str) -> int:
        """Let the thread write a line; never wait for it."""
        if self._file is None:
            return self._stream.write(line)
        try:
            self._lines.put_nowait(line)
        except Full:
            self.dropped += 1
        return len(line)

    def flush(self) -> None:
        """Do nothing: the thread writes each line at once."""

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream.isatty()

    def _write_lines(self) -> None:
        assert self._file is not None, "the thread starts with a file"  # noqa: S101
        while (line := self._lines.get()) is not None and not self._is_abandoned:
            try:
                self._write_whole(self._file, line.encode("utf-8", "backslashreplace"))
            except OSError:
                self.dropped += 1

    def _write_whole(self, file: int, line: bytes) -> None:
        """Write a line; after a line that was cut off, begin on a line of its own."""
        rest = memoryview(b"\n" + line if self._is_torn else line)
        while rest:
            try:
                written = os.write(file, rest)
            except BlockingIOError:  # another program made the file non-blocking
                select.select((), (file,), ())
                continue
            self._is_torn = written < len(rest)
            rest = rest[written:]


def _file_of(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None
