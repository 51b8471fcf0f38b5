"""The states of a connection: every legal step, and every illegal one."""

import asyncio

import pytest
from documents import docstring
from hypothesis import given
from hypothesis import strategies as st
from tables import illegal_steps, reachable

from relay.core.states import IllegalStep, step
from relay.wire import state
from relay.wire.state import (
    RECEIVING,
    SENDING,
    STEPS,
    ConnectionEvent,
    ConnectionState,
    Lifecycle,
)


@pytest.mark.parametrize(
    ("before", "event"), illegal_steps(STEPS, ConnectionState, ConnectionEvent)
)
def test_an_illegal_step_raises(before: ConnectionState, event: ConnectionEvent) -> None:
    with pytest.raises(IllegalStep, match=rf"connection.*{event.name}.*{before.name}"):
        step("connection", STEPS, before, event)


def test_every_state_is_reachable_and_every_state_leads_to_the_end() -> None:
    assert reachable(STEPS, ConnectionState.OPEN) == set(ConnectionState)
    for before in ConnectionState:
        assert ConnectionState.CLOSED in reachable(STEPS, before)


def test_the_table_has_every_state_and_the_drawing_has_every_name() -> None:
    assert set(STEPS) == set(ConnectionState)
    for name in (*ConnectionState, *ConnectionEvent):
        assert name.name in docstring(state)


@pytest.mark.parametrize("event", ConnectionEvent)
def test_no_event_leads_back_to_sending_or_receiving(event: ConnectionEvent) -> None:
    for before, steps in STEPS.items():
        after = steps.get(event, before)
        assert before in SENDING or after not in SENDING
        assert before in RECEIVING or after not in RECEIVING


@given(st.lists(st.sampled_from(ConnectionEvent)))
def test_a_connection_takes_legal_steps_only_and_notes_their_effects(
    events: list[ConnectionEvent],
) -> None:
    asyncio.run(_take_all(events))


async def _take_all(events: list[ConnectionEvent]) -> None:
    life = Lifecycle()
    taken: set[ConnectionEvent] = set()
    for event in events:
        before = life.state
        try:
            life.take(event)
        except IllegalStep:
            assert event not in STEPS[before]
            assert life.state is before
        else:
            assert life.state is STEPS[before][event]
            taken.add(event)
        ended = taken - {ConnectionEvent.CLOSE_SENT}
        assert life.is_receiving == (not ended) == (not life.peer_ended.done())
        last = {ConnectionEvent.CLOSE_SENT, ConnectionEvent.TCP_CLOSED}
        assert life.is_sending == (not taken & last)
        assert life.tcp_closed.done() == (ConnectionEvent.TCP_CLOSED in taken)
