"""The demo in this process: the relay in front of the local upstream."""

import asyncio
import signal
from pathlib import Path

import pytest
from aiohttp import ClientSession
from ledgers import Lines
from relays import receive, send
from websockets.asyncio.client import connect

from relay import demo
from relay.demo.tools import meaning_of
from relay.simulator import speech

pytestmark = pytest.mark.usefixtures("nothing_is_left", "unfrozen")


async def test_the_demo_answers_with_the_replies_and_tools_of_its_personas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech, "is_installed", bool)
    lines = Lines()
    with demo.reserve() as listener:
        tools = f"http://127.0.0.1:{listener.getsockname()[1]}/opening_hours"
        config = demo.configuration(listener, str(tmp_path))
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            tasks.create_task(demo.run(config, listener, lines.log, "127.0.0.1", 0))
            started = await lines.until("relay.started")
            url = started["url"].replace("http", "ws", 1)
            async with ClientSession() as http:  # it waits until the local upstream is ready
                for body, hours in (({"day": "sunday"}, "not at all"), ({}, "from eight")):
                    async with http.post(tools, json=body) as answer:
                        assert (await answer.json())["open"].startswith(hours)
            async with connect(f"{url}/realtime", proxy=None, max_size=None) as client:
                assert (await receive(client))["type"] == "session.created"
                await send(client, type="response.create")
                while (event := await receive(client))["type"] != "response.done":
                    pass
            signal.raise_signal(signal.SIGTERM)

    assert event["response"]["status"] == "completed"
    assert len(started["personas"]) > 1
    assert lines.events[-1] == "relay.stopped"


def test_the_dictionary_of_the_demo_explains_a_word() -> None:
    assert meaning_of("wander") == "wander means to walk about without any plan."
