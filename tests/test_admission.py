"""Admission: places are taken all together or not at all, and no race takes one too many."""

import asyncio

import pytest

from relay.core.admission import Admission, Place
from relay.core.errors import RelayError, RelayFull, SessionLimitReached

RELAY = "sessions"
KIOSK = ("client", "kiosk")


def places(limit: int | None, relay_limit: int = 1000) -> list[Place]:
    return [Place(RELAY, relay_limit, RelayFull), Place(KIOSK, limit, SessionLimitReached)]


def test_there_is_room_up_to_the_limit_and_then_again_after_a_release() -> None:
    admission = Admission()
    admission.admit(places(2))
    admission.admit(places(2))

    with pytest.raises(SessionLimitReached):
        admission.admit(places(2))
    admission.release(places(2))
    admission.admit(places(2))

    assert admission.open(KIOSK) == 2


def test_no_limit_is_no_limit_but_is_counted() -> None:
    admission = Admission()
    for _ in range(50):
        admission.admit(places(None))

    assert admission.open(KIOSK) == 50


def test_who_is_refused_by_one_limit_takes_no_place_of_another() -> None:
    admission = Admission()
    admission.admit(places(1))

    with pytest.raises(SessionLimitReached):
        admission.admit(places(1))

    assert admission.open(RELAY) == 1


def test_the_first_place_without_room_says_why() -> None:
    admission = Admission()
    admission.admit(places(1, relay_limit=1))

    with pytest.raises(RelayFull):
        admission.admit(places(1, relay_limit=1))


def test_clients_do_not_take_each_others_places() -> None:
    admission = Admission()
    admission.admit([Place(KIOSK, 1, SessionLimitReached)])

    admission.admit([Place(("client", "phone"), 1, SessionLimitReached)])


def test_a_limit_that_was_lowered_counts_who_is_in() -> None:
    admission = Admission()
    for _ in range(3):
        admission.admit(places(3))

    admission.release(places(3))

    with pytest.raises(SessionLimitReached):
        admission.admit(places(2))


async def test_a_hundred_at_once_and_exactly_ten_get_in() -> None:
    """Each admits while others release, dial and fail: the limit is never passed by one."""
    admission, gate = Admission(), asyncio.Event()
    most = 0

    async def connect() -> RelayError | None:
        nonlocal most
        await gate.wait()
        try:
            admission.admit(places(10))
        except RelayError as refusal:
            return refusal
        most = max(most, admission.open(KIOSK))
        return None

    async with asyncio.TaskGroup() as tasks:
        connects = [tasks.create_task(connect()) for _ in range(100)]
        gate.set()
    answers = [task.result() for task in connects]

    assert answers.count(None) == most == 10
    assert all(isinstance(a, SessionLimitReached) for a in answers if a)
    assert {a.retry_after_seconds for a in answers if a} == {10}


def test_what_is_empty_is_forgotten() -> None:
    """Keys are end users too: as many as there are people."""
    admission = Admission()
    for user in range(100):
        admission.admit([Place(("user", user), 1, SessionLimitReached)])
        admission.release([Place(("user", user), 1, SessionLimitReached)])

    assert not admission._open
