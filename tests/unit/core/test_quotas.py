"""Quotas: a session takes all that limits it in one step. Time is an argument."""

from datetime import UTC, date, datetime

import msgspec
import pytest

from relay.core.budgets import Allowance
from relay.core.errors import (
    BudgetExhausted,
    InvalidApiKey,
    RateLimitExceeded,
    RelayError,
    SessionLimitReached,
)
from relay.core.places import Kind, Place
from relay.core.quotas import Entry, Quotas
from relay.core.single_use import Credential

NOON = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
TODAY = date(2026, 11, 1)
KIOSK = "client", "kiosk"
CREDENTIAL = Credential("id-1", int(NOON.timestamp()) + 600)


def entry(session_id: str, **limits: object) -> Entry:
    """Return an entry of the client ``kiosk``; without arguments it has no limit."""
    plain = Entry(
        session_id=session_id,
        places=(Place(Kind.RELAY, "", 10), Place(Kind.CLIENT, "kiosk", None)),
        client="kiosk",
        starts_per_minute=None,
        allowance=Allowance((KIOSK,)),
        credential=None,
    )
    return msgspec.structs.replace(plain, **limits)


LIMITED: list[tuple[dict[str, object], type[RelayError]]] = [
    ({"places": (Place(Kind.CLIENT, "phone", 1),)}, SessionLimitReached),
    ({"starts_per_minute": 1}, RateLimitExceeded),
    ({"allowance": Allowance((KIOSK,), None, {KIOSK: 5})}, BudgetExhausted),
    ({"credential": CREDENTIAL}, InvalidApiKey),
]
ALL: dict[str, object] = {name: limit for limits, _ in LIMITED for name, limit in limits.items()}


@pytest.mark.parametrize(("limits", "error"), LIMITED)
def test_each_limit_refuses_the_next_session(
    limits: dict[str, object], error: type[RelayError]
) -> None:
    quotas = Quotas(TODAY)
    quotas.admit(entry("a", **limits), 0.0, NOON)
    quotas.started("a")
    quotas.budgets.charge("a", 5, TODAY)

    with pytest.raises(error):
        quotas.admit(entry("b", **limits), 0.0, NOON)


@pytest.mark.parametrize(("limits", "error"), LIMITED)
def test_a_refusal_by_one_limit_takes_nothing_of_another(
    limits: dict[str, object], error: type[RelayError]
) -> None:
    quotas = Quotas(TODAY)
    quotas.admit(entry("a", **limits), 0.0, NOON)
    quotas.started("a")
    if error is BudgetExhausted:
        quotas.budgets.charge("a", 5, TODAY)

    with pytest.raises(error):
        quotas.admit(entry("b", **ALL), 0.0, NOON)

    unlimited = {name: getattr(entry("c"), name) for name in limits}
    quotas.admit(entry("c", **{**ALL, **unlimited}), 0.0, NOON)


def test_a_budget_of_the_day_says_when_it_begins_again() -> None:
    quotas = Quotas(TODAY)
    quotas.budgets.merge({KIOSK: 5}, TODAY)

    with pytest.raises(BudgetExhausted) as refused:
        quotas.admit(entry("a", allowance=Allowance((KIOSK,), None, {KIOSK: 5})), 0.0, NOON)

    assert refused.value.retry_after_seconds == 12 * 3600 + 1


def test_a_credential_is_used_up_only_by_a_session_that_started() -> None:
    quotas = Quotas(TODAY)
    quotas.admit(entry("a", credential=CREDENTIAL), 0.0, NOON)
    with pytest.raises(InvalidApiKey):
        quotas.admit(entry("b", credential=CREDENTIAL), 0.0, NOON)
    quotas.release("a")
    quotas.admit(entry("c", credential=CREDENTIAL), 0.0, NOON)
    quotas.started("c")
    quotas.release("c")

    with pytest.raises(InvalidApiKey):
        quotas.admit(entry("d", credential=CREDENTIAL), 0.0, NOON)


def test_a_session_that_was_not_admitted_gives_nothing_back() -> None:
    quotas = Quotas(TODAY)
    quotas.admit(entry("a"), 0.0, NOON)
    quotas.started("unknown")
    quotas.release("unknown")

    assert quotas.sessions == 1
    quotas.release("a")
    quotas.release("a")
    assert quotas.sessions == 0


def test_a_held_estimate_counts_for_the_next_session() -> None:
    quotas = Quotas(TODAY)
    limited = Allowance((KIOSK,), None, {KIOSK: 5})
    quotas.admit(entry("a", allowance=limited), 0.0, NOON)
    quotas.budgets.hold("a", 5)

    with pytest.raises(BudgetExhausted):
        quotas.admit(entry("b", allowance=limited), 0.0, NOON)


def test_an_entry_survives_a_message_between_processes() -> None:
    sent = entry("a", **ALL)

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=Entry) == sent
