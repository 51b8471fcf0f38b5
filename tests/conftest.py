"""What every test may rely on."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# HYPOTHESIS_PROFILE=deep for a long look. No deadline: other work on the machine is no failure.
_ANY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fast", _ANY_MACHINE, max_examples=100, derandomize=True)
settings.register_profile("deep", _ANY_MACHINE, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
async def nothing_is_left() -> AsyncIterator[None]:
    """Fail a test that leaves a task or a socket behind."""
    loop, tasks, files = asyncio.get_running_loop(), asyncio.all_tasks(), _open_files()
    yield
    async with asyncio.timeout(3):
        while left := asyncio.all_tasks() - tasks - {asyncio.current_task()}:
            await asyncio.wait(left)
    # A transport closes its socket a turn of the loop after it is lost, uvloop a few turns.
    for _ in range(5):
        turned = loop.create_future()
        loop.call_soon(turned.set_result, None)
        await turned
    assert _open_files() == files
