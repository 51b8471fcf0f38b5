"""The end of a session because of an error."""

from relay.core.commands import End
from relay.core.errors import SessionIdle, UpstreamLost


def test_an_error_closes_the_client_with_its_code_and_words() -> None:
    assert End.because(SessionIdle()) == End(
        by="relay",
        outcome="session_idle",
        client_code=4408,
        upstream_code=1000,
        reason="The session had no activity for too long.",
    )


def test_an_end_has_the_side_that_ended_it_and_the_farewell() -> None:
    end = End.because(
        UpstreamLost(received=1001), by="upstream", upstream_code=1012, farewell=b"{}"
    )

    assert end == End("upstream", "upstream_lost", 1001, 1012, UpstreamLost.message, b"{}")
