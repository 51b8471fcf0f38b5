"""The request for the response that follows the outputs of tools."""

import json

import pytest

from relay.core.commands import Send
from relay.core.follow_up import REQUESTS, FollowUp, Request, RequestEvent
from relay.core.ids import EventIds
from relay.core.states import IllegalStep


def start() -> FollowUp:
    return FollowUp(EventIds("relay_x_"), {})


def event_id(sent: Send) -> str:
    value: str = json.loads(sent.message)["event_id"]
    return value


def test_a_second_request_while_one_is_under_way_is_a_defect() -> None:
    follow_up = start()
    follow_up.owe({"c1"}, client_will_ask=False)
    follow_up.request()
    follow_up.owe({"c2"}, client_will_ask=False)

    assert not follow_up.is_due
    with pytest.raises(IllegalStep, match="follow-up: SEND is not legal in state SENT"):
        follow_up.request()


def test_each_way_out_of_a_request_leads_back_to_idle() -> None:
    for state in Request:
        for event in (RequestEvent.BEGAN, RequestEvent.ENDED):
            assert REQUESTS[state][event] is Request.IDLE


def test_a_response_that_has_seen_the_outputs_pays_the_debt() -> None:
    follow_up = start()
    follow_up.output("c1", "one")
    follow_up.owe({"c1"}, client_will_ask=False)
    follow_up.arrived("c1")

    follow_up.began()

    assert not follow_up.is_due


def test_a_request_that_an_unknown_response_refuses_waits_for_the_end_of_one() -> None:
    follow_up = start()
    follow_up.output("c1", "one")
    follow_up.owe({"c1"}, client_will_ask=False)
    request = follow_up.request()

    follow_up.refused(event_id(request), active=True, known=False)
    assert not follow_up.is_due
    follow_up.ended()
    assert follow_up.is_due


def test_a_request_that_is_refused_for_another_reason_is_not_repeated() -> None:
    follow_up = start()
    follow_up.owe({"c1"}, client_will_ask=False)

    follow_up.refused(event_id(follow_up.request()), active=False, known=False)

    assert not follow_up.is_due
