"""Credentials that start one session. Time is an argument."""

import asyncio

import pytest

from relay.core.errors import InvalidApiKey
from relay.core.single_use import Credential, SingleUse

NOW = 1_700_000_000.0


def credential(number: int, expires_at: float = NOW + 600) -> Credential:
    return Credential(f"id-{number}", int(expires_at))


def test_a_credential_is_used_once() -> None:
    used = SingleUse()
    used.use(credential(1), NOW)
    used.use(credential(2), NOW)

    with pytest.raises(InvalidApiKey, match="was used"):
        used.use(credential(1), NOW)


def test_a_credential_whose_session_did_not_start_may_be_used_once_more() -> None:
    used = SingleUse()
    used.use(credential(1), NOW)
    used.give_back(credential(1))
    used.use(credential(1), NOW)

    with pytest.raises(InvalidApiKey):
        used.use(credential(1), NOW + 599)


def test_only_expired_credentials_are_forgotten() -> None:
    used = SingleUse()
    for number in range(1000):
        used.use(credential(number, expires_at=NOW + number), NOW)

    used.use(credential(1000), NOW + 990)

    assert used._used == {f"id-{number}" for number in range(991, 1001)}
    assert len(used._expiries) == len(used._used)
    with pytest.raises(InvalidApiKey):
        used.use(credential(995, expires_at=NOW + 995), NOW + 990)


async def test_of_a_hundred_concurrent_uses_exactly_one_succeeds() -> None:
    used, gate = SingleUse(), asyncio.Event()

    async def connect() -> bool:
        await gate.wait()
        try:
            used.use(credential(1), NOW)
        except InvalidApiKey:
            return False
        return True

    async with asyncio.TaskGroup() as tasks:
        connects = [tasks.create_task(connect()) for _ in range(100)]
        gate.set()

    assert sum(task.result() for task in connects) == 1
