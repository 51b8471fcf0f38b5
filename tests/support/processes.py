"""Runs the relay for tests as an operator does: ``relay serve``, in a process of its own."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paths import ROOT
from relays import TEST_SECONDS
from websockets.asyncio.client import connect

DEV_MODE = ("-X", "dev") if sys.flags.dev_mode else ()


@dataclass
class Process:
    """A relay in a process of its own, with the lines of its log."""

    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    async def until(self, event: str) -> dict[str, Any]:
        """Read the log up to this event; return its line."""
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            line: dict[str, Any] = json.loads(raw)
            self.lines.append(line)
            if line["event"] == event:
                return line
        raise AssertionError(f"it ended without {event}: {self.lines}")

    async def ends(self) -> int:
        """Wait for the end of the process; return the exit status."""
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            self.lines.append(json.loads(raw))
        return await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rpartition(":")[2].removesuffix("/v1"))

    def connect(self, query: str = "", **options: Any) -> connect:
        """Return a context manager that connects a client."""
        url = f"{self.url.replace('http', 'ws', 1)}/realtime{query}"
        return connect(url, open_timeout=None, compression=None, proxy=None, **options)

    def ended(self) -> list[dict[str, Any]]:
        """Return the ``session.ended`` lines that were read."""
        return [line for line in self.lines if line["event"] == "session.ended"]


@asynccontextmanager
async def serving(config: Path, *under: str) -> AsyncIterator[Process]:
    """Run ``relay serve``, as an argument of the command ``under`` if there is one.

    At the end of the block, a process that still runs is killed.
    """
    process = await asyncio.create_subprocess_exec(
        *under, sys.executable, *DEV_MODE, "-m", "relay",
        "serve", "--config", config, "--port", "0",
        cwd=ROOT, stderr=asyncio.subprocess.PIPE, limit=2**20,
    )  # fmt: skip
    relay = Process(process)
    try:
        async with asyncio.timeout(TEST_SECONDS):
            relay.url = (await relay.until("relay.started"))["url"]
            yield relay
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        process._transport.close()  # type: ignore[attr-defined]  # else it closes later
