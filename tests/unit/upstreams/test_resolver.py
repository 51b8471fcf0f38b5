"""A name that no server answers for delays no other name."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import FakeUpstream

from relay.upstreams.connections import connections
from relay.upstreams.resolver import Resolver

look_up = socket.getaddrinfo


DEAD = 40


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let names that start with "dead" wait for this event, and then be unknown."""
    event = threading.Event()
    all_asked = threading.Barrier(DEAD + 1)

    def getaddrinfo(host: str, *args: Any, **options: Any) -> Any:
        if host.startswith("dead"):
            all_asked.wait()
            event.wait()
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        all_asked.wait(10)
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield event
    event.set()
    all_asked.abort()


async def test_unanswered_names_do_not_delay_another(answered: threading.Event) -> None:
    """The other name is answered after all lookups of dead names began, and before one ended."""
    async with FakeUpstream().running() as upstream, connections() as http:
        url = upstream.url.replace("127.0.0.1", "localhost")
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            dead = [tasks.create_task(fails(http, number)) for number in range(DEAD)]
            async with http.ws_connect(f"{url}/realtime"):
                assert not any(task.done() for task in dead)
            answered.set()
    assert upstream.called.is_set()


async def fails(http: Any, number: int) -> None:
    """Dial a dead name."""
    with pytest.raises(OSError, match="unknown"):
        await http.ws_connect(f"http://dead-{number}.example/v1/realtime")


async def test_an_address_comes_from_the_system() -> None:
    resolver = Resolver()

    (found,) = await resolver.resolve("127.0.0.1", 80)
    await resolver.close()

    assert (found["hostname"], found["host"], found["port"]) == ("127.0.0.1", "127.0.0.1", 80)
    assert found["family"] == socket.AF_INET
