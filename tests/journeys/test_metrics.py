"""The numbers of a session: the log, the metrics and the client agree."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from aiohttp import ClientSession
from fakes import Call, Wire
from relays import RunningRelay, receive, relaying, send

from relay.core import errors
from relay.core.events import CLIENT_EVENTS
from relay.telemetry.metrics import CONTENT_TYPE, METRICS

USAGE = {
    "total_tokens": 133,
    "input_token_details": {
        "text_tokens": 40,
        "audio_tokens": 30,
        "cached_tokens": 16,
        "cached_tokens_details": {"text_tokens": 10, "audio_tokens": 6},
    },
    "output_token_details": {"text_tokens": 21, "audio_tokens": 42},
}
PLACE = {"item_id": "i", "output_index": 0, "content_index": 0}
DELTA = "A" * 64_000  # a second of PCM at 24 kHz

pytestmark = pytest.mark.usefixtures("nothing_is_left")


async def answers_twice(call: Call) -> None:
    """Complete the first response, and cancel the second."""
    await call.open()
    for status in ("completed", "cancelled"):
        while (await call.receive())["type"] != "response.create":
            pass
        response = {"id": f"resp_{status}", "object": "realtime.response", "status": "in_progress"}
        await call.send({"type": "response.created", "event_id": "e", "response": response})
        for _ in range(2):
            delta = {"type": "response.output_audio.delta", "event_id": "e", "delta": DELTA}
            await call.send(delta | PLACE)
        done = response | {"status": status, "usage": USAGE}
        await call.send({"type": "response.done", "event_id": "e", "response": done})
    error = {"type": "invalid_request_error", "code": "item_not_found", "message": "no"}
    await call.send({"type": "error", "event_id": "e", "error": error})
    await call.send({"type": "rate_limits.updated", "event_id": "e", "rate_limits": []})
    await call.listen()


async def test_the_log_the_metrics_and_the_client_agree(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async with relaying(tmp_path, answers_twice) as (relay, upstream):
        client = await Wire.connect(relay.port)

        async def receive_until(kind: str) -> None:
            while json.loads((await keep(client, seen)).decode())["type"] != kind:
                pass

        append = json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 6400})
        for _ in range(10):
            client.send(append.encode())
        client.send(b'{"type":"response.create","response":{"instructions":"mine"}}')
        await receive_until("response.done")
        assert_agree(await relay.metrics(), seen, open_sessions=1)
        client.send(b'{"type":"output_audio_buffer.clear"}')
        await receive_until("error")
        client.send(b'{"type":"response.create"}')
        await receive_until("error")
        client.close_frame(1000)
        await client.closing()
        await client.hang_up()
        line = await relay.ended()
        metrics = await relay.metrics()
        received = upstream.calls[0].received

    assert_agree(metrics, seen, open_sessions=0)
    assert line["messages_to_client"] == len(seen)
    assert line["bytes_to_client"] == sum(map(len, seen))
    assert line["messages_to_upstream"] == len(received) == 1 + 10 + 2
    assert value(metrics, "relay_messages_total", "to_upstream") == len(received)
    bytes_to_upstream = value(metrics, "relay_message_bytes_total", "to_upstream")
    assert line["bytes_to_upstream"] == bytes_to_upstream
    assert line["audio_seconds_to_upstream"] == pytest.approx(1)
    assert value(metrics, "relay_audio_seconds_total", "to_upstream") == pytest.approx(1)
    assert line["audio_seconds_to_client"] == pytest.approx(4)
    assert line["responses"] == {"completed": 1, "cancelled": 1}
    assert line["tokens"] == {
        "input_text": 60, "input_audio": 48, "cached_text": 20, "cached_audio": 12,
        "output_text": 42, "output_audio": 84,
    } | {kind: n for kind, n in line["tokens"].items() if n == 0}  # fmt: skip
    for kind, tokens in line["tokens"].items():
        assert value(metrics, "relay_tokens_total", f'kind="{kind}"') == tokens
    assert line["blocked_events"] == 2
    assert value(metrics, "relay_blocked_events_total") == 2
    assert line["upstream_errors"] == {"item_not_found": 1}
    assert value(metrics, "relay_upstream_errors_total", "item_not_found") == 1
    assert metrics["relay_first_audio_seconds_count"] == 2
    assert metrics["relay_first_audio_own_seconds_count"] == 2
    assert 0 < metrics["relay_first_audio_own_seconds_sum"] < 1
    assert 0 <= line["first_audio_p50_seconds"] <= metrics["relay_first_audio_seconds_sum"]
    duration = metrics["relay_session_duration_seconds_sum"]
    assert line["duration_seconds"] == pytest.approx(duration, abs=1e-3)
    assert value(metrics, "relay_sessions_total", 'outcome="completed"') == 1


async def keep(client: Wire, seen: list[bytes]) -> bytes:
    """Return the next message, and add it to ``seen``."""
    _, payload = await client.receive()
    seen.append(payload)
    return payload


def value(metrics: dict[str, float], name: str, label: str = "") -> float:
    """Return the sum of the samples of a metric that have a label."""
    return sum(v for key, v in metrics.items() if key.startswith(f"{name}{{") and label in key)


def assert_agree(metrics: dict[str, float], seen: list[bytes], *, open_sessions: int) -> None:
    """Compare the metrics with the messages that the client has received so far."""
    events = [json.loads(message) for message in seen]
    audio = sum(len(e["delta"]) for e in events if e["type"] == "response.output_audio.delta")
    done = [e["response"]["status"] for e in events if e["type"] == "response.done"]
    assert value(metrics, "relay_sessions_open") == open_sessions
    assert value(metrics, "relay_messages_total", "to_client") == len(seen)
    assert value(metrics, "relay_message_bytes_total", "to_client") == sum(map(len, seen))
    seconds = value(metrics, "relay_audio_seconds_total", "to_client")
    assert seconds == pytest.approx(audio * 3 / 4 / 48_000)
    assert value(metrics, "relay_responses_total") == len(done)


async def test_a_session_counts_as_open_until_it_has_ended(tmp_path: Path) -> None:
    name = 'relay_sessions_open{persona="receptionist"}'
    async with relaying(tmp_path) as (relay, _):
        assert (await relay.metrics())[name] == 0
        async with relay.connect(), relay.connect():
            assert (await relay.metrics())[name] == 2
        await relay.ended()
        assert (await relay.metrics())[name] == 0


async def test_no_text_of_a_client_becomes_a_label(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, _):
        async with relay.connect() as client:
            await receive(client)
            for number in range(50):
                await send(client, type=f"made.up.{number}")
                await send(client, type="output_audio_buffer.clear", **{f"x{number}": 1})
            for _ in range(100):
                await receive(client)
        await relay.ended()
        for number in range(20):
            await refused(relay, f"?persona=made_up_{number}")
        metrics = await relay.metrics()

    assert not [name for name in metrics if "made" in name]
    assert value(metrics, "relay_refusals_total", "persona_not_found") == 20
    blocked = {name for name in metrics if name.startswith("relay_blocked_events_total")}
    assert len(blocked) == 2
    for name in blocked:
        kind, reason = re.findall('="([^"]*)"', name)
        assert {kind, reason} <= CLIENT_EVENTS | {"other"} | errors.codes() | {"field_stripped"}


async def refused(relay: RunningRelay, query: str) -> None:
    """Request a session that is refused."""
    wire = await Wire.dial(relay.port)
    assert await wire.ask(f"/v1/realtime{query}") == 404
    await wire.hang_up()


async def test_the_exposition_has_type_and_help_of_each_metric(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, _), ClientSession() as http:
        async with http.get(relay.base_url.replace("/v1", "/metrics")) as answer:
            assert answer.headers["Content-Type"] == CONTENT_TYPE
            text = await answer.text()
    for name, description in METRICS.items():
        assert f"# TYPE {name} {description.kind}" in text
        assert f"# HELP {name} {description.text}" in text


async def test_counters_never_decrease_between_scrapes(tmp_path: Path) -> None:
    """This holds while sessions are open, and when they have ended between two scrapes."""
    async with relaying(tmp_path) as (relay, _):
        last: dict[str, float] = {}
        for _ in range(5):
            async with relay.connect() as client:
                await receive(client)
                async with asyncio.TaskGroup() as tasks:
                    sending = tasks.create_task(send(client, type="input_audio_buffer.clear"))
                    scraping = tasks.create_task(relay.metrics())
                assert sending.done()
                now = scraping.result()
                counters = {n: v for n, v in now.items() if n.partition("{")[0].endswith("_total")}
                assert all(counters.get(name, 0) >= last[name] for name in last)
                last = {n: v for n, v in counters.items() if n.startswith("relay_")}
            await relay.ended()
