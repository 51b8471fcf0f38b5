"""Fixtures, event loops and Hypothesis profiles for all tests."""

import asyncio
import gc
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from relay.wire.loop import Loop

# HYPOTHESIS_PROFILE=deep runs more examples. No deadline: a busy machine is not a failure.
_ANY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fast", _ANY_MACHINE, max_examples=100, derandomize=True)
settings.register_profile("deep", _ANY_MACHINE, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": Loop}
"""Event loops: asyncio's in most tests, uvloop's when the relay is a process of its own."""


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, LoopFactory]:
    """Run tests with the mark ``both_loops`` twice."""
    names = LOOPS if item.get_closest_marker("both_loops") else ("asyncio",)
    return {name: LOOPS[name] for name in names}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option with which the tests of the stock clients write docs/clients.md."""
    parser.addoption("--write-table", action="store_true", help="write docs/clients.md")


def _open_files() -> int:
    links = (link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
    # When uvloop first listens, it opens /dev/null, as a spare file to close on EMFILE.
    return len([target for target in links if target != Path(os.devnull)])


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Restore the logging of the process at the end."""
    root, aiohttp = logging.getLogger(), logging.getLogger("aiohttp.websocket")
    handlers, level, before = root.handlers[:], root.level, aiohttp.level
    root.handlers.clear()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    aiohttp.setLevel(before)


@pytest.fixture
def unfrozen() -> Iterator[None]:
    """Let the garbage collector see again the objects that ``serve`` hides from it."""
    yield
    gc.unfreeze()


@pytest.fixture
async def nothing_is_left() -> AsyncIterator[None]:
    """Fail if the test leaves a task or an open file."""
    loop, tasks, files = asyncio.get_running_loop(), asyncio.all_tasks(), _open_files()
    yield
    async with asyncio.timeout(3):
        while left := asyncio.all_tasks() - tasks - {asyncio.current_task()}:
            await asyncio.wait(left)
    # A transport closes its socket one iteration of the loop after it is lost, uvloop's some more.
    for _ in range(5):
        iterated = loop.create_future()
        loop.call_soon(iterated.set_result, None)
        await iterated
    assert _open_files() == files
