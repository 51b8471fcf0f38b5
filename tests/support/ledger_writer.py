"""A process that writes to a ledger until it is killed, and prints each report that is on disk.

Run as ``python ledger_writer.py FILE NAME``.
"""

import asyncio
import os
import sys
from pathlib import Path

import structlog
from ledgers import end, report, session

from relay.ledger.ledger import Ledger

SESSIONS = 20


async def converse(ledger: Ledger, name: str) -> None:
    """Write one session after the other, with some reports each."""
    for number in range(1_000_000):
        session_id = f"{name}_{number}"
        await ledger.session_started(session(session_id))
        for response in range(number % 7):
            await ledger.used(*report(session_id, f"resp_{response}"))
            # Before the next await, so that exactly the promised reports are printed.
            os.write(sys.stdout.fileno(), f"{session_id} resp_{response}\n".encode())
        await ledger.session_ended(end(session_id))


async def main(file: Path, name: str) -> None:
    log = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    # A long patience, so that a printed report is on disk, also if the disk is slow.
    ledger = await Ledger.open(file, log, patience_seconds=120)
    async with asyncio.TaskGroup() as tasks:
        for number in range(SESSIONS):
            tasks.create_task(converse(ledger, f"{name}_{number}"))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
