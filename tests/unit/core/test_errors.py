"""Tests of the errors and their wire forms."""

import inspect
from collections.abc import Mapping

import pytest

from relay.core import errors
from relay.core.errors import (
    ERRORS,
    InternalError,
    InvalidEvent,
    RelayError,
    UpstreamLost,
    codes,
)

WIRE_FORMS: Mapping[type[RelayError], tuple[str, int, int]] = {
    errors.InvalidApiKey: ("invalid_api_key", 401, 3000),
    errors.OriginNotAllowed: ("origin_not_allowed", 403, 4403),
    errors.PersonaNotAllowed: ("persona_not_allowed", 403, 4403),
    errors.PersonaNotFound: ("persona_not_found", 404, 4404),
    errors.SessionLimitReached: ("session_limit_reached", 429, 4429),
    errors.BudgetExhausted: ("budget_exhausted", 429, 4429),
    errors.RelayFull: ("relay_full", 503, 1013),
    errors.RelayDraining: ("relay_draining", 503, 1012),
    errors.UpstreamUnavailable: ("upstream_unavailable", 502, 1013),
    errors.UpstreamRefused: ("upstream_refused", 502, 4502),
    errors.UpstreamTimeout: ("upstream_timeout", 504, 1013),
    errors.PersonaRejected: ("persona_rejected", 502, 4502),
    errors.EventNotAllowed: ("event_not_allowed", 403, 1008),
    errors.InvalidEvent: ("invalid_event", 400, 1008),
    errors.InvalidRequest: ("invalid_request", 400, 1008),
    errors.MessageTooBig: ("message_too_big", 413, 1009),
    errors.SessionIdle: ("session_idle", 408, 4408),
    errors.SessionExpired: ("session_expired", 408, 1001),
    errors.SlowClient: ("slow_client", 408, 1013),
    errors.UpstreamLost: ("upstream_lost", 502, 1011),
}


@pytest.mark.parametrize("error", WIRE_FORMS, ids=lambda error: error.__name__)
def test_an_error_has_its_code_status_and_close_code(error: type[RelayError]) -> None:
    raised = error()

    assert (raised.code, raised.status, raised.close_code) == WIRE_FORMS[error]


def test_the_list_has_every_error_and_each_code_once() -> None:
    defined = {kind for _, kind in inspect.getmembers(errors, inspect.isclass)}
    subclasses = {kind for kind in defined if issubclass(kind, RelayError)} - {RelayError}

    assert {kind for kind in subclasses if kind.__base__ is RelayError} == set(ERRORS)
    assert {kind.code for kind in subclasses} == codes()
    assert len(codes()) == len(ERRORS)


def test_the_codes_are_those_of_all_errors() -> None:
    assert codes() > {code for code, _, _ in WIRE_FORMS.values()}


@pytest.mark.parametrize(
    ("received", "passed_on"),
    [(code, code) for code in (1000, 1001, 1011, 1012, 1013)]
    + [(code, 1011) for code in (0, 1005, 1006, 1008, 1015, 3000, 4000, 4999, 5000)],
)
def test_the_close_code_of_a_lost_upstream_passes_if_it_is_in_the_list(
    received: int, passed_on: int
) -> None:
    assert UpstreamLost(received=received).close_code == passed_on


def test_the_body_has_the_shape_of_the_api() -> None:
    error = InvalidEvent("No.", detail="for the log")

    assert error.body(param="type") == {
        "type": "invalid_request_error",
        "code": "invalid_event",
        "message": "No.",
        "param": "type",
    }
    assert error.detail == "for the log"


def test_the_body_names_the_event_of_the_client() -> None:
    body = InternalError().body(event_id="e1")

    assert (body["type"], body["event_id"]) == ("server_error", "e1")
    assert body["message"] == InternalError.message


def test_the_error_for_too_many_starts_has_the_seconds_to_wait() -> None:
    error = errors.RateLimitExceeded(retry_after_seconds=42)

    assert (error.code, error.status, error.close_code) == ("rate_limit_exceeded", 429, 4429)
    assert error.retry_after_seconds == 42


def test_errors_that_the_client_cannot_read_are_silent() -> None:
    silent = {error for error in ERRORS if error.silent}

    assert silent == {errors.MessageTooBig, errors.SlowClient, errors.ClientLost}


def test_errors_that_pass_by_themselves_have_the_seconds_to_wait() -> None:
    waits = {error: error.retry_after_seconds for error in ERRORS}

    assert {error for error, seconds in waits.items() if seconds} >= {
        errors.SessionLimitReached,
        errors.RelayFull,
        errors.RelayDraining,
    }
