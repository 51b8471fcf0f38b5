"""The state of several workers: one process decides for all of them."""

from datetime import UTC, datetime

import msgspec
import pytest

from relay.core.budgets import Allowance
from relay.core.errors import InvalidApiKey, RateLimitExceeded, RelayError, SessionLimitReached
from relay.core.places import Kind, Place
from relay.core.quotas import Entry
from relay.core.single_use import Credential
from relay.state.desk import Desk, Desks
from relay.state.local import LocalState
from relay.state.messages import Answer, Exhausted, Notice, Question, Release
from relay.state.remote import RemoteState

KIOSK = "client", "kiosk"
CREDENTIAL = Credential("id-1", 4_000_000_000)


def entry(session_id: str, **limits: object) -> Entry:
    """Return an entry of the client ``kiosk``; without arguments it has no limit."""
    plain = Entry(
        session_id=session_id,
        places=(Place(Kind.RELAY, "", None), Place(Kind.CLIENT, "kiosk", None)),
        client="kiosk",
        starts_per_minute=None,
        allowance=Allowance((KIOSK,)),
        credential=None,
    )
    return msgspec.structs.replace(plain, **limits)


def again(message: msgspec.Struct, kind: object) -> msgspec.Struct:
    """Return a message after its way between two processes."""
    received = msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=kind)
    assert received == message
    assert isinstance(received, msgspec.Struct)
    return received


class Worker:
    """A worker without a process; its messages are encoded and decoded."""

    def __init__(self, desks: Desks) -> None:
        self.ended: list[str] = []
        self.desk: Desk = desks.open(self._receive)
        self.state = RemoteState(self._ask, self._notify)
        self.state.on_exhausted = self.ended.extend

    async def _ask(self, question: Question) -> Answer:
        return again(await self.desk.answer(again(question, Question)), Answer)  # type: ignore[arg-type, return-value]

    def _notify(self, notice: Notice) -> None:
        self.desk.receive(again(notice, Notice))  # type: ignore[arg-type]

    def _receive(self, exhausted: Exhausted) -> None:
        self.state.receive(again(exhausted, Exhausted))  # type: ignore[arg-type]


async def test_a_limit_counts_the_sessions_of_all_workers() -> None:
    desks = Desks(LocalState())
    workers = Worker(desks), Worker(desks)
    limited = (Place(Kind.RELAY, "", None), Place(Kind.CLIENT, "kiosk", 2))
    for number, worker in enumerate(workers):
        await worker.state.admit(entry(str(number), places=limited))

    with pytest.raises(SessionLimitReached) as refused:
        await workers[0].state.admit(entry("3", places=limited))
    assert await workers[0].state.sessions() == 2
    workers[1].state.release("1")
    await workers[0].state.admit(entry("4", places=limited))

    assert refused.value.retry_after_seconds == 10


@pytest.mark.parametrize(
    ("limits", "error"),
    [({"starts_per_minute": 1}, RateLimitExceeded), ({"credential": CREDENTIAL}, InvalidApiKey)],
)
async def test_starts_and_credentials_count_over_all_workers(
    limits: dict[str, object], error: type[RelayError]
) -> None:
    desks = Desks(LocalState())
    one, other = Worker(desks), Worker(desks)
    await one.state.admit(entry("a", **limits))
    one.state.started("a")

    with pytest.raises(error) as refused:
        await other.state.admit(entry("b", **limits))

    assert type(refused.value) is error


async def test_a_budget_that_is_used_up_ends_the_sessions_of_all_workers() -> None:
    desks = Desks(LocalState())
    one, other = Worker(desks), Worker(desks)
    limited = Allowance((KIOSK,), None, {KIOSK: 100})
    await one.state.admit(entry("a", allowance=limited))
    await other.state.admit(entry("b", allowance=limited))
    await other.state.admit(entry("c", allowance=limited))
    await one.state.charge("a", 99)
    assert not one.ended
    await other.state.charge("b", 1)

    assert one.ended == ["a"]
    assert sorted(other.ended) == ["b", "c"]


async def test_held_estimates_and_the_spending_in_the_ledger_count_for_all_workers() -> None:
    desks = Desks(LocalState())
    one, other = Worker(desks), Worker(desks)
    limited = Allowance((KIOSK,), None, {KIOSK: 100})
    one.state.merge({KIOSK: 60}, datetime.now(UTC).date())
    await one.state.admit(entry("a", allowance=limited))
    one.state.hold("a", 40)

    with pytest.raises(RelayError) as refused:
        await other.state.admit(entry("b", allowance=limited))

    assert refused.value.code == "budget_exhausted"


async def test_a_worker_that_has_died_gives_back_its_places_and_keeps_its_spending() -> None:
    desks = Desks(LocalState())
    one, other = Worker(desks), Worker(desks)
    limited = Allowance((KIOSK,), None, {KIOSK: 100})
    for session_id in "ab":
        await one.state.admit(entry(session_id, allowance=limited))
    await one.state.charge("a", 90)
    desks.close(one.desk)

    assert await other.state.sessions() == 0
    await other.state.admit(entry("c", allowance=limited))
    await other.state.charge("c", 10)
    assert other.ended == ["c"]
    assert not one.ended


async def test_a_session_that_is_released_while_it_is_admitted_keeps_nothing() -> None:
    state, admit = LocalState(), LocalState.admit
    desk = Desks(state).open(lambda _: None)

    async def admit_and_leave(entry: Entry) -> None:
        desk.receive(Release(entry.session_id))
        await admit(state, entry)

    state.admit = admit_and_leave  # type: ignore[method-assign]
    await RemoteState(desk.answer, desk.receive).admit(entry("a"))

    assert await state.sessions() == 0


async def test_a_charge_for_an_unknown_session_changes_nothing() -> None:
    worker = Worker(Desks(LocalState()))
    await worker.state.charge("unknown", 1)
    worker.state.hold("unknown", 1)
    await worker.state.admit(entry("a", allowance=Allowance((KIOSK,), None, {KIOSK: 1})))

    assert not worker.ended
