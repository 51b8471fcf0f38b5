"""Tests of close codes and reasons."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.close import MAX_REASON_BYTES, SENDABLE, CloseCode, sendable

NEVER_SENT = {CloseCode.NO_STATUS_RECEIVED, CloseCode.ABNORMAL_CLOSURE}


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535, -1])
def test_a_code_that_may_not_be_sent_becomes_1011(code: int) -> None:
    assert sendable(code, "") == (1011, b"")


def test_every_other_code_of_the_relay_may_be_sent() -> None:
    assert set(CloseCode) - SENDABLE == NEVER_SENT


@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        ("client closed", b"client closed"),
        ("x" * 124, b"x" * 123),
        ("é" * 62, "é".encode() * 61),
        ("x" * 121 + "😀", b"x" * 121),
        ("\ud800", b"?"),
    ],
)
def test_a_reason_is_cut_between_characters(reason: str, sent: bytes) -> None:
    assert sendable(1000, reason) == (1000, sent)


@given(st.integers(), st.text(st.characters(exclude_categories=()), max_size=200))
def test_any_code_and_reason_become_sendable(code: int, reason: str) -> None:
    sent, words = sendable(code, reason)

    assert sent in SENDABLE
    assert len(words) <= MAX_REASON_BYTES
    assert reason.encode("utf-8", "replace").startswith(words.decode().encode())
