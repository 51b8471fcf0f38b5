"""The outbox keeps its entries in order, and has a limit."""

import asyncio

import pytest

from relay.simulator.outbox import (
    BinaryFrame,
    CloseFrame,
    Outbox,
    OutboxEntry,
    PingFrame,
    TextFrame,
)


async def test_entries_keep_their_order() -> None:
    outbox = Outbox(max_bytes=100)
    entries: list[OutboxEntry] = [
        TextFrame("a"),
        PingFrame(b"b"),
        BinaryFrame(b"c"),
        CloseFrame(1000, ""),
    ]
    outbox.put(*entries)

    assert [await outbox.take() for _ in entries] == entries


async def test_take_waits_for_an_entry() -> None:
    outbox = Outbox(max_bytes=100)
    async with asyncio.TaskGroup() as tasks:
        taken = tasks.create_task(outbox.take())
        await asyncio.sleep(0)
        outbox.put(TextFrame("late"))

    assert taken.result() == TextFrame("late")


async def test_a_full_outbox_has_no_room_until_an_entry_is_taken() -> None:
    outbox = Outbox(max_bytes=10)
    outbox.put(TextFrame("x" * 6), BinaryFrame(b"y" * 6))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await outbox.room()
    await outbox.take()

    async with asyncio.timeout(2):
        await outbox.room()


async def test_an_outbox_that_is_still_too_full_has_no_room() -> None:
    outbox = Outbox(max_bytes=10)
    outbox.put(*(TextFrame("x" * 6) for _ in range(3)))
    await outbox.take()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await outbox.room()
    await outbox.take()

    async with asyncio.timeout(2):
        await outbox.room()
