"""Usage that the upstream reports after the end of a session."""

from playbook import start


def test_a_late_report_that_is_nested_too_deeply_is_ignored() -> None:
    session = start().session
    deep = b'{"type":"response.done","response":' + b"[" * 100_000

    assert session.record_late(deep, 0) == ()
    assert session.record_late(deep + b"]" * 100_000 + b"}", 0) == ()
