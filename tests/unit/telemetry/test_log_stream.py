"""The stream of the log: it delays no caller, loses whole lines only, and counts them."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest

from relay.telemetry.log_stream import MAX_WAITING_LINES, LogStream


@contextmanager
def pipe() -> Iterator[tuple[int, TextIO]]:
    """Return the two ends of a pipe."""
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "w", closefd=True) as stream:
        yield read_end, stream


def test_lines_are_written_in_their_order() -> None:
    with pipe() as (read_end, stream), LogStream(stream) as log:
        for number in range(100):
            log.write(f"{number}\n")
        with os.fdopen(read_end) as lines:
            assert [lines.readline() for _ in range(100)] == [f"{n}\n" for n in range(100)]
    assert log.dropped == 0


def test_a_closed_pipe_drops_lines_and_raises_nothing() -> None:
    with pipe() as (read_end, stream):
        os.close(read_end)
        with LogStream(stream) as log:
            for _ in range(10):
                log.write("a line\n")
    assert log.dropped == 10


def test_a_pipe_that_is_not_read_drops_lines_and_delays_no_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lines that are read at last are whole, and in their order."""
    monkeypatch.setattr("relay.telemetry.log_stream.CLOSE_SECONDS", 10)
    sent = 5 * MAX_WAITING_LINES
    with pipe() as (read_end, stream):
        with LogStream(stream) as log:
            for number in range(sent):
                log.write(f"{number:0199}\n")
            dropped = log.dropped
            with os.fdopen(read_end) as lines:
                read = [int(lines.readline()) for _ in range(sent - dropped)]
    assert sent // 2 < dropped < sent - MAX_WAITING_LINES + 1
    assert read == sorted(read)


def test_the_end_of_the_process_does_not_wait_for_a_pipe_that_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("relay.telemetry.log_stream.CLOSE_SECONDS", 0.05)
    with pipe() as (read_end, stream):
        with LogStream(stream) as log:
            for _ in range(2 * MAX_WAITING_LINES):
                log.write("x" * 200 + "\n")
        assert log._thread.is_alive()
        os.close(read_end)
        log._thread.join(10)
        assert not log._thread.is_alive()


def test_a_line_after_one_that_was_cut_off_begins_on_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that becomes full takes a part of a line."""
    written: list[bytes] = []

    real_write = os.write

    def write(file: int, data: memoryview) -> int:
        if file != stream.fileno():
            return real_write(file, data)
        if len(written) == 1:
            written.append(b"")
            raise OSError(28, "No space left on device")
        part = bytes(data) if written else bytes(data[:3])
        written.append(part)
        return len(part)

    monkeypatch.setattr(os, "write", write)
    with pipe() as (read_end, stream), LogStream(stream) as log:
        log.write("first line\n")
        log.write("second line\n")
    os.close(read_end)

    assert b"".join(written) == b"fir\nsecond line\n"
    assert log.dropped == 1


def test_a_file_that_does_not_block_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.telemetry.log_stream.CLOSE_SECONDS", 10)
    with pipe() as (read_end, stream):
        os.set_blocking(stream.fileno(), False)
        with LogStream(stream) as log:
            for _ in range(900):
                log.write("x" * 199 + "\n")
            with os.fdopen(read_end) as lines:
                assert {len(lines.readline()) for _ in range(900)} == {200}
    assert log.dropped == 0


def test_a_stream_without_a_file_is_written_at_once() -> None:
    text = io.StringIO()
    with LogStream(text) as log:
        log.write("a line\n")
        log.flush()
        assert text.getvalue() == "a line\n"
    assert not log.isatty()
