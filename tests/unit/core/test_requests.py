"""Requests without an answer: each is answered by an event, or taken back by an error."""

from typing import Any

import pytest

from relay.core.requests import MAX_REQUESTS, Requests


@pytest.fixture
def requests() -> Requests:
    return Requests()


def test_a_response_that_begins_answers_the_turn_and_the_first_request(requests: Requests) -> None:
    requests.is_turn_due = True
    requests.request(None)
    requests.request("mine")
    assert requests.responses == 3

    requests.began()
    assert requests.responses == 1
    requests.refused({"event_id": "mine"})
    assert requests.responses == 0
    requests.began()
    assert requests.responses == 0


def test_each_commit_is_answered(requests: Requests) -> None:
    requests.commit(None)
    requests.commit("mine")
    requests.committed()
    assert (requests.commits, requests.responses) == (1, 0)

    requests.refused({"event_id": "mine", "code": "input_audio_buffer_commit_empty"})
    assert requests.commits == 0


@pytest.mark.parametrize(
    ("error", "responses", "commits"),
    [
        ({"code": "conversation_already_has_active_response"}, 1, 2),
        ({"code": "invalid_value", "param": "response.metadata"}, 1, 2),
        ({"code": "input_audio_buffer_commit_empty"}, 2, 1),
        ({"code": "invalid_value", "param": "item_id"}, 2, 2),
        ({"code": "invalid_value", "param": None}, 2, 2),
        ({"code": "conversation_already_has_active_response", "event_id": "other"}, 2, 2),
        ({"event_id": "request"}, 1, 2),
        ({"event_id": "commit"}, 2, 1),
        ({"event_id": {"an": "object"}}, 2, 2),
        ({}, 2, 2),
    ],
)
def test_an_error_takes_back_the_request_that_it_answers(
    requests: Requests, error: dict[str, Any], responses: int, commits: int
) -> None:
    for event_id in (None, "request"):
        requests.request(event_id)
    for event_id in (None, "commit"):
        requests.commit(event_id)

    requests.refused(error)

    assert (requests.responses, requests.commits) == (responses, commits)


def test_the_number_of_requests_is_limited(requests: Requests) -> None:
    for _ in range(MAX_REQUESTS + 1):
        requests.request(None)
        requests.commit(None)

    assert (requests.responses, requests.commits) == (MAX_REQUESTS, MAX_REQUESTS)
