"""A table of transitions: the states that it reaches, and the steps that it forbids."""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

AnyState = TypeVar("AnyState", bound=Enum)
AnyEvent = TypeVar("AnyEvent", bound=Enum)


def reachable(
    table: Mapping[AnyState, Mapping[AnyEvent, AnyState]], start: AnyState
) -> set[AnyState]:
    """Return the states that the table reaches from ``start``, with ``start``."""
    reached: set[AnyState] = set()
    following = {start}
    while following:
        reached |= following
        following = {to for state in following for to in table.get(state, {}).values()} - reached
    return reached


def illegal_steps(
    table: Mapping[AnyState, Mapping[AnyEvent, AnyState]],
    states: type[AnyState],
    events: type[AnyEvent],
) -> list[tuple[AnyState, AnyEvent]]:
    """Return each state with each event that the table does not have for it."""
    return [
        (state, event) for state in states for event in events if event not in table.get(state, {})
    ]
