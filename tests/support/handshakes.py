"""Handshakes of clients: those that open a session, and those that the relay refuses."""

import json
from typing import Any

import pytest
import websockets
from relays import RunningRelay, receive


async def connect_once(relay: RunningRelay) -> None:
    """Open a session, and close it."""
    async with relay.connect() as client:
        assert (await receive(client))["type"] == "session.created"


async def refused(connecting: Any) -> tuple[int, dict[str, Any], str | None]:
    """Return the status, the error and Retry-After of a handshake that is refused over HTTP."""
    with pytest.raises(websockets.InvalidStatus) as refusal:
        await connecting
    answer = refusal.value.response
    assert answer.headers["Content-Type"].startswith("application/json")
    assert b"PLANTED" not in (answer.body or b"")
    return (
        answer.status_code,
        json.loads(answer.body or b"")["error"],
        answer.headers.get("Retry-After"),
    )


async def refusal_code(relay: RunningRelay) -> str:
    """Try to open a session; return the code of the refusal."""
    _, error, _ = await refused(relay.connect())
    return str(error["code"])


async def refused_in_band(connecting: Any) -> tuple[dict[str, Any], int]:
    """Return the error event and the close code of a handshake that is refused after 101."""
    async with connecting as client:
        event = await receive(client)
        await client.wait_closed()
    assert event["type"] == "error"
    assert event["event_id"].startswith("relay_")
    return event["error"], client.close_code
