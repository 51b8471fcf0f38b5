"""Tests of how many sessions there may be."""

import pytest

from relay.core.errors import RelayFull, SessionLimitReached
from relay.core.limits import Admission


def test_there_are_never_more_sessions_than_there_may_be() -> None:
    admission = Admission()
    admission.admit("a", max_sessions=2, max_of_client=None)
    admission.admit("b", max_sessions=2, max_of_client=None)

    with pytest.raises(RelayFull):
        admission.admit("c", max_sessions=2, max_of_client=None)

    assert admission.open == 2


def test_a_client_never_has_more_than_it_may_have() -> None:
    admission = Admission()
    admission.admit("a", max_sessions=9, max_of_client=1)
    admission.admit("b", max_sessions=9, max_of_client=1)

    with pytest.raises(SessionLimitReached):
        admission.admit("a", max_sessions=9, max_of_client=1)

    assert admission.open == 2


def test_a_place_that_was_given_back_can_be_taken_again() -> None:
    admission = Admission()
    for _ in range(3):
        admission.admit("a", max_sessions=2, max_of_client=2)
        admission.admit("a", max_sessions=2, max_of_client=2)
        admission.release("a")
        admission.release("a")

    assert admission.open == 0


def test_a_refused_session_takes_no_place() -> None:
    admission = Admission()
    admission.admit("a", max_sessions=9, max_of_client=1)
    with pytest.raises(SessionLimitReached):
        admission.admit("a", max_sessions=9, max_of_client=1)
    admission.release("a")

    admission.admit("a", max_sessions=1, max_of_client=1)

    assert admission.open == 1
