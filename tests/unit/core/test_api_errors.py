"""Tests of the groups of error codes."""

from relay.core.api_errors import ACCOUNT_ERRORS, CLIENT_ERRORS, KNOWN_ERRORS, TEMPORARY_ERRORS


def test_each_code_is_in_one_group() -> None:
    groups = (CLIENT_ERRORS, ACCOUNT_ERRORS, TEMPORARY_ERRORS, {"call_id_not_found"})

    assert sum(map(len, groups)) == len(KNOWN_ERRORS)
