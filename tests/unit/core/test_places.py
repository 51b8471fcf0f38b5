"""Places under limits: a session takes all of its places or none, and never more than a limit."""

import asyncio

import pytest

from relay.core.errors import RelayError, RelayFull, SessionLimitReached
from relay.core.places import Kind, Place, Places

KIOSK = Kind.CLIENT, "kiosk"


def places(limit: int | None, relay_limit: int = 1000) -> list[Place]:
    return [Place(Kind.RELAY, "", relay_limit), Place(*KIOSK, limit)]


def test_places_are_free_up_to_the_limit_and_again_after_a_release() -> None:
    taken = Places()
    taken.take(places(2))
    taken.take(places(2))

    with pytest.raises(SessionLimitReached):
        taken.take(places(2))
    taken.give_back(places(2))
    taken.take(places(2))

    assert taken.taken(*KIOSK) == 2


def test_places_without_a_limit_are_counted() -> None:
    taken = Places()
    for _ in range(50):
        taken.take(places(None))

    assert taken.taken(*KIOSK) == 50


def test_a_refusal_by_one_limit_takes_no_place_of_another() -> None:
    taken = Places()
    taken.take(places(1))

    with pytest.raises(SessionLimitReached):
        taken.take(places(1))

    assert taken.taken(Kind.RELAY) == 1


def test_the_first_full_place_gives_the_reason() -> None:
    taken = Places()
    taken.take(places(1, relay_limit=1))

    with pytest.raises(RelayFull):
        taken.take(places(1, relay_limit=1))


def test_clients_do_not_take_each_others_places() -> None:
    taken = Places()
    taken.take([Place(*KIOSK, 1)])

    taken.take([Place(Kind.CLIENT, "phone", 1)])


def test_a_lowered_limit_counts_the_places_that_are_taken() -> None:
    taken = Places()
    for _ in range(3):
        taken.take(places(3))

    taken.give_back(places(3))

    with pytest.raises(SessionLimitReached):
        taken.take(places(2))


async def test_of_a_hundred_attempts_at_once_exactly_ten_take_a_place() -> None:
    """The limit holds however the tasks interleave."""
    taken, gate = Places(), asyncio.Event()
    most = 0

    async def connect() -> RelayError | None:
        nonlocal most
        await gate.wait()
        try:
            taken.take(places(10))
        except RelayError as refusal:
            return refusal
        most = max(most, taken.taken(*KIOSK))
        return None

    async with asyncio.TaskGroup() as tasks:
        connects = [tasks.create_task(connect()) for _ in range(100)]
        gate.set()
    answers = [task.result() for task in connects]

    assert answers.count(None) == most == 10
    assert all(isinstance(a, SessionLimitReached) for a in answers if a)
    assert {a.retry_after_seconds for a in answers if a} == {10}


def test_a_key_without_taken_places_is_forgotten() -> None:
    """End users are keys too, so the number of keys has no bound."""
    taken = Places()
    for user in range(100):
        taken.take([Place(Kind.USER, str(user), 1)])
        taken.give_back([Place(Kind.USER, str(user), 1)])

    assert not taken._taken
