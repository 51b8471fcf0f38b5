"""The states of the writer: the steps of one life, and a step that is not allowed."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.ledger.writer import Writer, WriterState


def make_writer(file: Path, on_written: Callable[[], None] = lambda: None) -> Writer:
    return Writer(file, lambda _written, _refused: on_written(), busy_seconds=0.01)


async def ended(writer: Writer) -> None:
    """Wait until the thread has ended."""
    async with asyncio.timeout(10):
        await asyncio.wrap_future(writer.stopped)


async def test_a_writer_opens_works_and_stops(file: Path) -> None:
    states: list[WriterState] = []
    writer = make_writer(file, lambda: states.append(writer.state))

    writer.start()
    await asyncio.wrap_future(writer.opened)
    writer.queue.put(None)
    await ended(writer)

    assert states == [WriterState.WORKING]
    assert writer.state == WriterState.STOPPED


async def test_a_writer_refuses_a_file_that_is_no_ledger(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)

    writer.start()
    with pytest.raises(OSError, match=tmp_path.name):
        await asyncio.wrap_future(writer.opened)
    await ended(writer)

    assert writer.state == WriterState.STOPPED


def test_a_stopped_writer_does_not_work_again(file: Path) -> None:
    writer = make_writer(file)
    for state in (WriterState.WORKING, WriterState.RETRYING, WriterState.STOPPING):
        writer._enter(state)
    writer._enter(WriterState.STOPPED)

    for state in WriterState:
        with pytest.raises(AssertionError, match="cannot step from"):
            writer._enter(state)
