"""The metrics before the application has a ledger."""

from relay.telemetry.metrics import Metrics


def test_without_a_ledger_there_is_no_sample_of_it() -> None:
    lines = Metrics(["receptionist"]).exposition().decode().splitlines()

    assert 'relay_sessions_open{persona="receptionist"} 0.0' in lines
    assert [line for line in lines if line.startswith("relay_ledger")] == []
