"""A relay whose log cannot be written."""

import signal
from pathlib import Path

import pytest
from aiohttp import ClientSession
from fakes import FakeUpstream
from processes import serving
from relays import receive, write_config

pytestmark = pytest.mark.usefixtures("nothing_is_left")


async def test_a_closed_pipe_of_the_log_ends_no_session_and_changes_no_exit_status(
    tmp_path: Path,
) -> None:
    async with FakeUpstream().running() as upstream:
        async with serving(write_config(tmp_path, upstream.url)) as relay:
            log = relay.process._transport.get_pipe_transport(2)  # type: ignore[attr-defined]
            async with relay.connect() as running:
                await receive(running)
                log.close()
                for _ in range(3):
                    async with relay.connect() as client:
                        await receive(client)
                await (await running.ping())

            async with (
                ClientSession() as http,
                http.get(f"http://127.0.0.1:{relay.port}/metrics") as answer,
            ):
                samples = (await answer.text()).splitlines()
            (dropped,) = [line for line in samples if line.startswith("relay_log_lines_dropped_")]
            assert float(dropped.partition(" ")[2]) >= 1, "the end of the first session"

            relay.signal(signal.SIGTERM)
            assert await relay.process.wait() == 0
