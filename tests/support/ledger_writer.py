"""A process that writes to a ledger until it is killed, and tells each row that it was promised.

Run as ``python ledger_writer.py FILE NAME``.
"""

import asyncio
import os
import sys
from pathlib import Path

import structlog
from ledgers import end, report, session

from relay.ledger.writer import Ledger

SESSIONS = 20


async def converse(ledger: Ledger, name: str) -> None:
    """Have one session after the other, with some reports each."""
    for number in range(1_000_000):
        session_id = f"{name}_{number}"
        await ledger.session_started(session(session_id))
        for response in range(number % 7):
            await ledger.used(report(session_id, f"resp_{response}"))
            # Before the next await: what is told was promised, and all that was is told.
            os.write(sys.stdout.fileno(), f"{session_id} resp_{response}\n".encode())
        await ledger.session_ended(end(session_id))


async def main(file: Path, name: str) -> None:
    log = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    # Nobody's patience ends, so that what is told was written, on a slow disk too.
    ledger = await Ledger.open(file, log, patience_seconds=120)
    async with asyncio.TaskGroup() as tasks:
        for number in range(SESSIONS):
            tasks.create_task(converse(ledger, f"{name}_{number}"))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
