"""A step of a state machine: every state and every legal step is in one table.

A table gives for each state the events that are legal in it, and the state that each leads to.
"""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

AnyState = TypeVar("AnyState", bound=Enum)
AnyEvent = TypeVar("AnyEvent", bound=Enum)


class IllegalStep(RuntimeError):
    """A state machine received an event that is not legal in its state: a defect of the relay.

    Attributes:
        role: The name of the state machine.
        state: Its state when the event came.
        event: The event, which the table does not have for this state.
    """

    def __init__(self, role: str, state: Enum, event: Enum) -> None:
        super().__init__(f"{role}: {event.name} is not legal in state {state.name}")
        self.role = role
        self.state = state
        self.event = event


def step(
    role: str,
    table: Mapping[AnyState, Mapping[AnyEvent, AnyState]],
    state: AnyState,
    event: AnyEvent,
) -> AnyState:
    """Return the state that ``event`` leads to from ``state``.

    Raises:
        IllegalStep: The table has no such step.
    """
    try:
        return table[state][event]
    except KeyError:
        raise IllegalStep(role, state, event) from None
