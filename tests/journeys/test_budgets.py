"""Budgets of clients and personas, of a session and of a day."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from accounting import (
    DELTA,
    accounting,
    checked_ledger,
    created,
    done,
    recovered,
    refusal,
    request_events,
    rest,
    sends,
    sends_on_request,
    until,
)
from fakes import Call
from ledgers import locked
from relays import PERSONA, RunningRelay, receive

pytestmark = pytest.mark.usefixtures("nothing_is_left")

KEYS = {"Authorization": "Bearer kiosk-key-one"}
OTHER_KEYS = {"Authorization": "Bearer other-key-one"}


def clients(limits: str = "{}") -> str:
    """Return two clients, the first with these limits."""
    return f"""
    clients:
      kiosk: {{key: kiosk-key-one, limits: {limits}}}
      other: {{key: other-key-one}}
    """


TWO_RESPONSES = "0.012"
"""The second response exceeds this budget: each costs $0.0064."""

DAY, SESSION = f"{{usd_per_day: {TWO_RESPONSES}}}", f"{{usd_per_session: {TWO_RESPONSES}}}"


@pytest.mark.parametrize(
    ("of_client", "of_persona", "next_is_refused"),
    [(DAY, "{}", True), ("{}", DAY, True), (SESSION, "{}", False), ("{}", SESSION, False)],
)
async def test_the_response_that_exceeds_a_budget_is_delivered_completely_and_then_the_session_ends(
    tmp_path: Path, of_client: str, of_persona: str, *, next_is_refused: bool
) -> None:
    persona = f"{PERSONA}\n    limits: {of_persona}\n"
    script = sends(
        *(created("resp_1"), DELTA, done("resp_1"), created("resp_2"), DELTA, done("resp_2")),
        created("resp_3"),
    )
    async with accounting(tmp_path, script, clients(of_client), receptionist=persona) as (
        relay,
        upstream,
    ):
        connecting: dict[str, Any] = {
            "subprotocols": ["realtime", "relay.events"],
            "additional_headers": KEYS,
        }
        async with relay.connect(**connecting) as client:
            events = await rest(client)
        line = await relay.ended()
        assert await upstream.calls[0].closed == 1000

        if next_is_refused:
            assert await refusal(relay, additional_headers=KEYS) == (429, "budget_exhausted")
            assert len(upstream.calls) == 1
            (refused,) = relay.lines("session.refused")
            assert refused["code"] == "budget_exhausted"
        else:
            async with relay.connect(**connecting) as client:
                assert (await receive(client))["type"] == "session.created"

    one = ["response.created", DELTA["type"], "response.done", "relay.usage"]
    assert [event["type"] for event in events] == ["session.created", *one, *one, "error"]
    assert events[-1]["error"]["code"] == "budget_exhausted"
    assert (client.close_code == 4429) or not next_is_refused
    assert (line["ended_by"], line["outcome"], line["close_code"]) == (
        *("relay", "budget_exhausted"),
        4429,
    )
    assert line["cost_usd"] == "0.012800"
    checked_ledger(tmp_path)


async def test_concurrent_sessions_of_a_client_share_its_budget(tmp_path: Path) -> None:
    """When one spends it, a silent session ends at once, and a speaking one after its response."""
    async with accounting(tmp_path, settings=clients(DAY)) as (relay, upstream):
        async with (
            relay.connect(additional_headers=KEYS) as spender,
            relay.connect(additional_headers=KEYS) as silent,
            relay.connect(additional_headers=KEYS) as speaker,
            relay.connect(additional_headers=OTHER_KEYS) as other,
        ):
            await request_events(speaker, created("resp_in_progress"), DELTA)
            await until(speaker, DELTA["type"])
            await request_events(spender, done("resp_1"), done("resp_2"))
            to_spender = await rest(spender)
            assert [event["type"] for event in await rest(silent)] == ["session.created", "error"]
            await request_events(speaker, DELTA, done("resp_in_progress"))
            to_speaker = await rest(speaker)
            assert await refusal(relay, additional_headers=KEYS) == (429, "budget_exhausted")
            await request_events(other, done("resp_1"))
            await until(other, "response.done")

    kinds = ["session.created", "response.done", "response.done", "error"]
    assert [event["type"] for event in to_spender] == kinds
    assert [event["type"] for event in to_speaker] == [DELTA["type"], "response.done", "error"]
    codes = [client.close_code for client in (spender, silent, speaker, other)]
    assert codes == [4429, 4429, 4429, 1000]
    assert len(upstream.calls) == 4
    checked_ledger(tmp_path)


async def test_a_session_that_opens_while_the_budget_is_used_up_spends_nothing(
    tmp_path: Path,
) -> None:
    let_in = asyncio.Event()

    async def opens_late(call: Call) -> None:
        await let_in.wait()
        await sends_on_request(call)

    async with accounting(tmp_path, settings=clients(DAY)) as (relay, upstream):
        async with relay.connect(additional_headers=KEYS) as spender:
            await receive(spender)
            upstream.script = opens_late
            upstream.called.clear()
            async with asyncio.TaskGroup() as tasks:
                opening = tasks.create_task(all_events(relay))
                await upstream.called.wait()
                await request_events(spender, done("resp_1"), done("resp_2"))
                await rest(spender)
                let_in.set()
            events, close_code = opening.result()

    assert events[-1]["error"]["code"] == "budget_exhausted"
    assert close_code == 4429


async def all_events(relay: RunningRelay) -> tuple[list[dict[str, Any]], int | None]:
    """Return the events of a silent client until the close, and the close code."""
    async with asyncio.timeout(2), relay.connect(additional_headers=KEYS) as client:
        return await rest(client), client.close_code


async def test_the_spending_of_today_is_known_after_a_restart(tmp_path: Path) -> None:
    async with accounting(tmp_path, settings=clients(DAY)) as (relay, _):
        async with relay.connect(additional_headers=KEYS) as client:
            await request_events(client, done("resp_1"), done("resp_2"))
            await rest(client)

    async with accounting(tmp_path, settings=clients(DAY)) as (relay, upstream):
        assert await refusal(relay, additional_headers=KEYS) == (429, "budget_exhausted")
        async with relay.connect(additional_headers=OTHER_KEYS) as client:
            assert (await receive(client))["type"] == "session.created"
    assert len(upstream.calls) == 1


async def test_the_spending_of_today_is_known_when_a_failing_ledger_works_again(
    tmp_path: Path,
) -> None:
    async with accounting(tmp_path, settings=clients(DAY)) as (relay, _):
        async with relay.connect(additional_headers=KEYS) as client:
            await request_events(client, done("resp_1"), done("resp_2"))
            await rest(client)

    with locked(tmp_path / "data" / "usage.db"):
        again = accounting(tmp_path, settings=clients(DAY))
        relay, _ = await again.__aenter__()
        assert await refusal(relay, additional_headers=OTHER_KEYS) == (503, "relay_full")
    try:
        await recovered(relay)
        assert await refusal(relay, additional_headers=KEYS) == (429, "budget_exhausted")
        async with relay.connect(additional_headers=OTHER_KEYS) as client:
            assert (await receive(client))["type"] == "session.created"
    finally:
        await again.__aexit__(None, None, None)
