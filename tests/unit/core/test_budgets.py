"""Budgets: limits of sessions and payers, days, and concurrent sessions."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.budgets import Allowance, Budgets, Payer, payer_of_user
from relay.core.errors import BudgetExhausted

TODAY, TOMORROW = date(2026, 11, 1), date(2026, 11, 2)
KIOSK: Payer = ("client", "kiosk")
CLERK: Payer = ("persona", "clerk")


def allowance(
    session: int | None = None, kiosk: int | None = None, clerk: int | None = None
) -> Allowance:
    limits = {KIOSK: kiosk, CLERK: clerk}
    days = {payer: limit for payer, limit in limits.items() if limit is not None}
    return Allowance((KIOSK, CLERK), session, days)


def admitted(terms: Allowance, *sessions: str) -> Budgets:
    budgets = Budgets(TODAY, {})
    for session in sessions:
        budgets.admit(session, terms, TODAY)
    return budgets


def test_without_a_limit_no_budget_is_used_up() -> None:
    budgets = admitted(allowance(), "a")

    assert budgets.charge("a", 10**12, TODAY) == frozenset()
    assert budgets.spent(KIOSK, TODAY) == 10**12


def test_the_response_that_reaches_the_limit_is_the_last() -> None:
    budgets = admitted(allowance(session=100), "a")

    assert budgets.charge("a", 99, TODAY) == frozenset()
    assert budgets.charge("a", 1, TODAY) == {"a"}


def test_a_session_has_a_budget_of_its_own() -> None:
    budgets = admitted(allowance(session=100), "a", "b")

    assert budgets.charge("a", 100, TODAY) == {"a"}
    assert budgets.charge("b", 99, TODAY) == frozenset()


def test_sessions_of_one_client_share_its_day() -> None:
    """The silent session has to end too: its next response would exceed the limit further."""
    budgets = admitted(allowance(kiosk=100), "a", "b")

    assert budgets.charge("a", 60, TODAY) == frozenset()
    assert budgets.charge("b", 40, TODAY) == {"a", "b"}


def test_clients_share_the_day_of_a_persona() -> None:
    budgets = admitted(allowance(clerk=100), "a")
    phone = Allowance((("client", "phone"), CLERK), None, {CLERK: 100})
    budgets.admit("b", phone, TODAY)

    assert budgets.charge("b", 100, TODAY) == {"a", "b"}
    assert budgets.spent(KIOSK, TODAY) == 0


def test_the_same_user_of_two_clients_is_two_payers() -> None:
    assert payer_of_user("kiosk", "abc") == ("user", "kiosk/abc") != payer_of_user("phone", "abc")


def test_a_session_without_any_budget_left_is_not_admitted() -> None:
    budgets = Budgets(TODAY, {KIOSK: 100})

    with pytest.raises(BudgetExhausted) as refused:
        budgets.admit("a", allowance(kiosk=100), TODAY)

    assert (refused.value.status, refused.value.close_code) == (429, 4429)
    assert "kiosk" in refused.value.detail
    assert "kiosk" not in str(refused.value)
    budgets.admit("b", allowance(kiosk=101), TODAY)


def test_the_spending_of_a_released_session_stays() -> None:
    budgets = admitted(allowance(kiosk=100), "a")
    budgets.charge("a", 100, TODAY)

    budgets.release("a")

    with pytest.raises(BudgetExhausted):
        budgets.admit("b", allowance(kiosk=100), TODAY)


def test_a_released_session_is_not_returned_again() -> None:
    budgets = admitted(allowance(kiosk=100), "a", "b")
    budgets.release("a")

    assert budgets.charge("b", 100, TODAY) == {"b"}


def test_a_new_day_has_a_new_budget_and_a_session_keeps_its_own() -> None:
    budgets = admitted(allowance(session=150, kiosk=100), "a")
    assert budgets.charge("a", 100, TODAY) == {"a"}

    budgets.admit("b", allowance(kiosk=100), TOMORROW)

    assert budgets.spent(KIOSK, TOMORROW) == 0
    assert budgets.charge("b", 10, TOMORROW) == frozenset()
    assert budgets.charge("a", 50, TOMORROW) == {"a"}


def test_a_clock_that_is_set_back_does_not_begin_the_day_before_again() -> None:
    budgets = Budgets(TOMORROW, {KIOSK: 100})

    with pytest.raises(BudgetExhausted):
        budgets.admit("a", allowance(kiosk=100), TODAY)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 50)), max_size=60),
    st.integers(1, 400),
)
def test_concurrent_sessions_exceed_a_budget_at_most_by_the_responses_in_progress(
    responses: list[tuple[int, int]], limit: int
) -> None:
    """A session that is to end may deliver its response in progress, and no other."""
    sessions = [str(number) for number in range(5)]
    budgets = admitted(allowance(kiosk=limit), *sessions)
    ending: set[str] = set()
    in_progress = 0

    for number, micros in responses:
        session = sessions[number]
        if session not in sessions or session in ending:
            continue
        crossed = budgets.charge(session, micros, TODAY)
        if crossed:
            assert crossed == set(sessions)
            ending |= crossed
            in_progress = micros

    assert budgets.spent(KIOSK, TODAY) < limit + max(in_progress, 1)


def test_late_spending_from_the_ledger_counts_and_charges_do_not_count_twice() -> None:
    """The ledger failed at the start; its spending may include the charges since then."""
    budgets = admitted(allowance(), "s")
    budgets.charge("s", 5, TODAY)

    budgets.merge({KIOSK: 30, CLERK: 5}, TODAY)

    assert (budgets.spent(KIOSK, TODAY), budgets.spent(CLERK, TODAY)) == (30, 5)


def test_late_spending_from_the_ledger_replaces_no_higher_charge() -> None:
    """Charges after the query of the ledger are not in its result, and must not get lost."""
    budgets = admitted(allowance(), "s")
    budgets.charge("s", 40, TODAY)

    budgets.merge({KIOSK: 30}, TODAY)

    assert (budgets.spent(KIOSK, TODAY), budgets.spent(CLERK, TODAY)) == (40, 40)


def test_spending_of_yesterday_does_not_count_today() -> None:
    budgets = admitted(allowance(), "s")
    budgets.charge("s", 5, TOMORROW)

    budgets.merge({KIOSK: 30}, TODAY)

    assert budgets.spent(KIOSK, TOMORROW) == 5


def test_a_held_estimate_counts_for_new_sessions_and_ends_no_running_one() -> None:
    budgets = admitted(allowance(kiosk=100), "a", "b")
    budgets.hold("a", 60)
    budgets.hold("b", 0)

    assert budgets.charge("b", 50, TODAY) == frozenset()
    with pytest.raises(BudgetExhausted):
        budgets.admit("c", allowance(kiosk=100), TODAY)
    assert budgets.spent(KIOSK, TODAY) == 50


@pytest.mark.parametrize("charged", [40, 60])
def test_a_held_estimate_is_replaced_by_the_charge_and_forgotten_at_the_release(
    charged: int,
) -> None:
    budgets = admitted(allowance(kiosk=100), "a")
    budgets.hold("a", 99)
    budgets.charge("a", charged, TODAY)
    budgets.release("a")

    budgets.admit("b", allowance(kiosk=100), TODAY)
    budgets.hold("b", 50)
    assert budgets.charge("b", 100 - charged, TODAY) == {"b"}


def test_a_charge_above_the_held_estimate_holds_nothing_more() -> None:
    budgets = admitted(allowance(kiosk=100), "a")
    budgets.hold("a", 30)
    budgets.charge("a", 60, TODAY)

    budgets.admit("b", allowance(kiosk=100), TODAY)
