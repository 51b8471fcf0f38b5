"""Starts a relay on an upstream that writes raw frames, over TCP or TLS."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from certificates import issue
from fakes import Wire, rude_upstream
from relays import PERSONA, RunningRelay, running_relay, write_config
from scripts import SMALL_BUFFER_BYTES, WireScript


@asynccontextmanager
async def relaying_rudely(
    folder: Path,
    script: WireScript,
    settings: str = "",
    *,
    persona: str = PERSONA,
    receive_buffer_bytes: int | None = None,
    tls: bool = False,
) -> AsyncIterator[RunningRelay]:
    """Run a relay on an upstream that does what the script says, with TLS if ``tls``."""
    pair = None
    if tls:
        (folder / "upstream").mkdir()
        pair = issue(folder / "upstream")
    async with rude_upstream(
        script, receive_buffer_bytes=receive_buffer_bytes, tls=pair.serving if pair else None
    ) as url:
        trusted = f"ca_file: {pair.cert}" if pair else ""
        path = write_config(folder, url, settings, {"receptionist": persona}, more=trusted)
        async with running_relay(path) as relay:
            yield relay


@asynccontextmanager
async def relaying_to_a_full_upstream(
    folder: Path, settings: str = "", *, tls: bool = False
) -> AsyncIterator[RunningRelay]:
    """Run a relay on an upstream that opens sessions and then reads nothing."""
    over = asyncio.Event()

    async def stops_reading(upstream: Wire) -> None:
        await upstream.open()
        await over.wait()

    async with relaying_rudely(
        folder, stops_reading, settings, receive_buffer_bytes=SMALL_BUFFER_BYTES, tls=tls
    ) as relay:
        try:
            yield relay
        finally:
            over.set()
