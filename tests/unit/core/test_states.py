"""Steps of a state machine, from a table."""

from collections.abc import Mapping
from enum import Enum

import pytest
from tables import illegal_steps, reachable

from relay.core.states import IllegalStep, step


class Door(Enum):
    """States of a door."""

    OPEN = "open"
    CLOSED = "closed"
    LOCKED = "locked"


class Hand(Enum):
    """Events of a door."""

    PUSH = "push"
    PULL = "pull"
    LOCK = "lock"


TABLE: Mapping[Door, Mapping[Hand, Door]] = {
    Door.OPEN: {Hand.PUSH: Door.CLOSED},
    Door.CLOSED: {Hand.PULL: Door.OPEN, Hand.LOCK: Door.LOCKED},
}


@pytest.mark.parametrize(
    ("state", "event", "following"),
    [(state, event, to) for state, steps in TABLE.items() for event, to in steps.items()],
)
def test_a_legal_step_leads_to_the_state_of_the_table(
    state: Door, event: Hand, following: Door
) -> None:
    assert step("door", TABLE, state, event) is following


@pytest.mark.parametrize(("state", "event"), illegal_steps(TABLE, Door, Hand))
def test_an_illegal_step_names_role_state_and_event(state: Door, event: Hand) -> None:
    with pytest.raises(IllegalStep) as raised:
        step("front door", TABLE, state, event)
    illegal = raised.value
    assert (illegal.role, illegal.state, illegal.event) == ("front door", state, event)
    assert str(illegal) == f"front door: {event.name} is not legal in state {state.name}"


def test_the_reachable_states_are_those_that_steps_lead_to() -> None:
    assert reachable(TABLE, Door.OPEN) == set(Door)
    assert reachable(TABLE, Door.LOCKED) == {Door.LOCKED}
