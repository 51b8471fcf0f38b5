"""Ids of a peer are stored with a limited length."""

from relay.core.ids import MAX_CHARS, bounded


def test_a_long_id_becomes_a_hash_and_a_short_one_stays() -> None:
    longest = "x" * MAX_CHARS

    assert bounded(longest) == longest
    hashed = bounded(longest + "x")
    assert hashed.startswith("sha256_")
    assert len(hashed) <= MAX_CHARS
    assert hashed == bounded(longest + "x") != bounded(longest + "y")
    assert bounded("\ud800" * 200).startswith("sha256_")
