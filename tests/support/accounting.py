"""A relay with a price list, an upstream that sends given events, and the ledger."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import websockets
from fakes import Call, FakeUpstream, Script
from ledgers import select
from processes import Process
from relays import RunningRelay, receive, relaying, send
from websockets.asyncio.client import ClientConnection

from relay import app
from relay.core.tokens import TOKEN_KINDS
from relay.ledger.check import check_ledger
from relay.ledger.ledger import Ledger

PRICES = """
- model: gpt-realtime-2.1
  from: 2020-01-01
  usd_per_million: {input_text: 4, cached_text: 0.40, output_text: 24,
    input_audio: 32, cached_audio: 0.40, output_audio: 64, input_image: 5, cached_image: 0.50}
- model: by-the-minute
  from: 2020-01-01
  usd_per_minute: 0.0045
- model: by-the-token
  from: 2020-01-01
  usd_per_million: {input_audio: 6, output_text: 10}
"""

SPOKEN = {"output_tokens": 100, "output_token_details": {"audio_tokens": 100}}
"""The usage of a response that costs 100 * 64 micro-dollars."""

SPOKEN_MICROS = 6400

TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
DELTA = {"type": "response.output_audio.delta", "event_id": "d", "delta": "AAAA"}
EVENTS: Any = ["realtime", "relay.events"]
"""The subprotocols of a client that receives the relay's own events."""

APPEND = {"type": "input_audio_buffer.append", "audio": "AAAA"}


def second_of_audio(seconds: int = 1) -> str:
    """Return ``seconds`` of silence in base64, 16 bits at 24 kHz."""
    return base64.b64encode(bytes(48_000 * seconds)).decode()


def created(response_id: str) -> dict[str, Any]:
    return {"type": "response.created", "event_id": "c", "response": {"id": response_id}}


def done(response_id: str, usage: Any = SPOKEN, status: str = "completed") -> dict[str, Any]:
    response = {"id": response_id, "status": status, "usage": usage}
    return {"type": "response.done", "event_id": "e", "response": response}


def sends(*events: dict[str, Any]) -> Script:
    """Return a script that opens the session and sends these events."""

    async def script(call: Call) -> None:
        await call.open()
        for event in events:
            await call.send(event)
        await call.listen()

    return script


async def sends_on_request(call: Call) -> None:
    """Open the session, and send the events in the metadata of each response.create.

    Audio is answered with audio.
    """
    await call.open()
    while True:
        event = await call.receive()
        if event["type"] == "input_audio_buffer.append":
            await call.send(DELTA)
            continue
        for requested in json.loads(event["response"]["metadata"]["events"]):
            await call.send(requested)


async def request_events(client: ClientConnection, *events: dict[str, Any]) -> None:
    """Let the upstream of this client send these events."""
    response = {"metadata": {"events": json.dumps(events)}}
    await send(client, type="response.create", response=response)


async def until(client: ClientConnection, kind: str) -> dict[str, Any]:
    """Receive until an event of this type; return it."""
    while (event := await receive(client))["type"] != kind:
        pass
    return event


async def rest(client: ClientConnection) -> list[dict[str, Any]]:
    """Return the events until the close."""
    events = []
    with suppress(websockets.ConnectionClosedError):
        async for message in client:
            events.append(json.loads(message))  # noqa: PERF401  # also those before the close
    return events


@asynccontextmanager
async def accounting(
    folder: Path, script: Script = sends_on_request, settings: str = "", **personas: str
) -> AsyncIterator[tuple[RunningRelay, FakeUpstream]]:
    """Run a relay with a price list."""
    (folder / "prices.yaml").write_text(PRICES)
    async with relaying(folder, script, settings, **personas) as running:
        yield running


def checked_ledger(folder: Path) -> Path:
    """Return the file of the ledger, after a check without problems."""
    file = folder / "data" / "usage.db"
    assert check_ledger(file).problems == ()
    return file


def reports(folder: Path, columns: str) -> list[tuple[Any, ...]]:
    """Return these columns of all reports, as another process sees them."""
    statement = f"SELECT {columns} FROM reports ORDER BY session_id, number"  # noqa: S608
    return select(folder / "data" / "usage.db", statement)


def ledger_of(relay: RunningRelay) -> Ledger:
    ledger = relay.application[app.RELAY].metrics.ledger
    assert ledger is not None
    return ledger


async def recovered(relay: RunningRelay) -> None:
    """Wait until a ledger on a working disk has written its entries."""
    await ledger_of(relay).spent(datetime.now(UTC))  # answered after all entries


async def refusal(relay: RunningRelay | Process, **options: Any) -> tuple[int, str]:
    """Return the status and the error code of a refused client."""
    with pytest.raises(websockets.InvalidStatus) as refused:
        await relay.connect(**options)
    response = refused.value.response
    assert response.body is not None
    return response.status_code, json.loads(response.body)["error"]["code"]


CACHED = {
    "total_tokens": 283,
    "input_tokens": 162,
    "output_tokens": 121,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 13,
        "image_tokens": 30,
        "cached_tokens": 89,
        "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 5, "image_tokens": 20},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
}
CACHED_MICROS = 7108
"""55 * 4 + 64 * 0.4 + 8 * 32 + 5 * 0.4 + 10 * 5 + 20 * 0.5 + 30 * 24 + 91 * 64 = 7107.6"""


def transcribing(model: str) -> dict[str, Any]:
    audio = {"input": {"transcription": {"model": model}}}
    return {"type": "session.updated", "event_id": "u", "session": {"id": "s", "audio": audio}}


def transcribed(item_id: str, **usage: Any) -> dict[str, Any]:
    return {
        "type": TRANSCRIBED,
        "event_id": "t",
        "item_id": item_id,
        "content_index": 0,
        "transcript": "the words",
        "usage": usage,
    }


def by_kind(samples: dict[str, float]) -> dict[str, float]:
    """Return the tokens of a scrape by kind."""
    sums = dict.fromkeys(TOKEN_KINDS, 0.0)
    for sample, value in samples.items():
        if sample.startswith("relay_tokens_total{"):
            kind = sample.partition('kind="')[2].partition('"')[0]
            sums[kind] += value
    return {kind: count for kind, count in sums.items() if count}
