"""Upstreams of Azure: where they are, and who the relay says it is."""

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import websockets
from aiohttp import web
from fakes import Call, FakeUpstream
from relays import RunningRelay, receive, running_relay, write_fallbacks

from relay.config.loading import InvalidConfig, load
from relay.core.circuit import FAILURES
from relay.upstreams.entra import identity

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def azure(upstream: FakeUpstream, **more: Any) -> dict[str, Any]:
    """Return the keys of an upstream of Azure's."""
    url = upstream.url.removesuffix("/v1") + "/openai/v1"
    return {"provider": "azure", "url": url, **more}


async def connect(relay: RunningRelay) -> None:
    """Have a session."""
    async with relay.connect() as client:
        assert (await receive(client))["type"] == "session.created"


async def refused(relay: RunningRelay) -> str:
    """Have none; return the code."""
    with pytest.raises(websockets.InvalidStatus) as caught:
        await relay.connect()
    assert b"PLANTED" not in caught.value.response.body
    code: str = json.loads(caught.value.response.body)["error"]["code"]
    return code


async def test_a_key_goes_into_its_own_header_and_the_model_is_the_deployment(
    tmp_path: Path,
) -> None:
    async with FakeUpstream().running() as upstream:
        path = write_fallbacks(tmp_path, azure=azure(upstream, api_key="PLANTED-KEY"))
        async with running_relay(path) as relay:
            await connect(relay)
    request = upstream.calls[0].request

    assert request.path_qs == "/openai/v1/realtime?model=gpt-realtime-2.1"
    assert request.headers["api-key"] == "PLANTED-KEY"
    assert "Authorization" not in request.headers


async def test_the_preview_is_asked_for_a_version_and_a_deployment(tmp_path: Path) -> None:
    addresses = asyncio.Queue[str]()

    async def note(request: web.Request) -> web.StreamResponse:
        addresses.put_nowait(request.path_qs)
        return web.Response(status=401)

    async with FakeUpstream(answer=note).running() as upstream:
        keys = azure(upstream, api_key="PLANTED-KEY", dialect="beta")
        path = write_fallbacks(tmp_path, azure=keys)
        async with running_relay(path) as relay:
            assert await refused(relay) == "upstream_refused"

    assert await addresses.get() == (
        "/openai/realtime?api-version=2025-04-01-preview&deployment=gpt-realtime-2.1"
    )


async def test_what_a_deployment_uses_is_billed_by_its_name(tmp_path: Path) -> None:
    async def answers(call: Call) -> None:
        await call.open()
        usage = {"input_token_details": {"text_tokens": 1_000_000}}
        response = {"id": "resp_1", "status": "completed", "usage": usage}
        await call.send({"type": "response.done", "response": response})
        await call.listen()

    prices = "- {model: gpt-realtime-2.1, from: 2026-01-01, usd_per_million: {input_text: 7}}"
    async with FakeUpstream(answers).running() as upstream:
        path = write_fallbacks(tmp_path, azure=azure(upstream, api_key="k"))
        (tmp_path / "prices.yaml").write_text(prices)
        async with running_relay(path) as relay:
            async with relay.connect() as client:
                assert [(await receive(client))["type"] for _ in range(2)][-1] == "response.done"
            line = await relay.ended()

    assert (line["model"], line["cost_usd"]) == ("gpt-realtime-2.1", "7.000000")


@dataclass
class Authority:
    """A managed identity's endpoint, as Azure App Service has it.

    https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
    """

    valid_seconds: int = 3600
    asked: list[web.Request] = field(default_factory=list)
    refuses: bool = False
    hangs: bool = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Give a token, or don't."""
        self.asked.append(request)
        if self.hangs:
            await asyncio.Event().wait()
        if self.refuses:
            said = "AADSTS7000215: Invalid client secret: 'PLANTED-SECRET'."
            wrong = {"error": "invalid_client", "error_description": said}
            return web.json_response(wrong, status=400)
        expires_on = int(time.time()) + self.valid_seconds
        token = {
            "access_token": f"PLANTED-TOKEN-{len(self.asked)}",
            "expires_on": str(expires_on),
            "resource": request.query["resource"],
            "token_type": "Bearer",
        }
        return web.json_response(token)


@asynccontextmanager
async def managed_identity(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Authority]:
    """Let this process have a managed identity, and none but that."""
    authority = Authority()
    app = web.Application()
    app.router.add_get("/msi/token", authority.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}/msi/token"
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    monkeypatch.setenv("IDENTITY_ENDPOINT", endpoint)
    monkeypatch.setenv("IDENTITY_HEADER", "PLANTED-IDENTITY")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # no proxy of the environment is used
    try:
        yield authority
    finally:
        await runner.cleanup()


async def test_without_a_key_the_relay_shows_a_token_of_entra_id_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        managed_identity(monkeypatch) as authority,
        FakeUpstream().running() as upstream,
        running_relay(write_fallbacks(tmp_path, azure=azure(upstream))) as relay,
    ):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(5):
                tasks.create_task(connect(relay))
    (asked,) = authority.asked

    assert asked.query["resource"] == "https://ai.azure.com"
    for call in upstream.calls:
        assert call.request.headers["Authorization"] == "Bearer PLANTED-TOKEN-1"
        assert "api-key" not in call.request.headers


async def test_who_gets_tokens_from_the_azure_cli_runs_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package keeps none of those: each token that is wanted is a process of a second."""
    az = tmp_path / "bin" / "az"
    az.parent.mkdir()
    az.write_text(
        f"#!/bin/sh\necho run >>{tmp_path}/runs\n"
        """echo '{"accessToken": "PLANTED-CLI", "expires_on": 4102444800}'"""
    )
    az.chmod(0o755)
    monkeypatch.setenv("PATH", f"{az.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    async with (
        FakeUpstream().running() as upstream,
        running_relay(write_fallbacks(tmp_path, azure=azure(upstream))) as relay,
    ):
        await connect(relay)
        await connect(relay)

    assert (tmp_path / "runs").read_text() == "run\n"
    assert upstream.calls[1].request.headers["Authorization"] == "Bearer PLANTED-CLI"


async def test_what_tokens_came_through_is_closed_in_the_end() -> None:
    class Credential:
        closed = False

        async def close(self) -> None:
            self.closed = True

    credential: Any = Credential()
    async with identity() as entra:
        entra._credential = credential
        assert not credential.closed
    assert credential.closed


async def test_a_token_that_runs_out_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        managed_identity(monkeypatch) as authority,
        FakeUpstream().running() as upstream,
        running_relay(write_fallbacks(tmp_path, azure=azure(upstream))) as relay,
    ):
        authority.valid_seconds = 0
        await connect(relay)
        authority.valid_seconds = 3600
        await connect(relay)
        await connect(relay)
    shown = [call.request.headers["Authorization"] for call in upstream.calls]

    assert shown == [f"Bearer PLANTED-TOKEN-{number}" for number in (1, 2, 2)]


async def test_without_a_token_the_session_is_refused_and_the_log_says_why_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "relay")
    async with (
        managed_identity(monkeypatch) as authority,
        FakeUpstream().running() as upstream,
        running_relay(write_fallbacks(tmp_path, azure=azure(upstream))) as relay,
    ):
        authority.refuses = True
        assert await refused(relay) == "upstream_refused"
        (line,) = relay.lines("upstream.failed")
        authority.refuses = False
        await connect(relay)

    assert line["upstream"] == "azure"
    assert line["detail"] == (
        "no token of Entra ID: ClientAuthenticationError AADSTS7000215"
        " after ManagedIdentityCredential"
    )
    assert "PLANTED" not in caplog.text


async def test_an_authority_that_hangs_leaves_time_for_the_next_upstream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        managed_identity(monkeypatch) as authority,
        FakeUpstream().running() as upstream,
    ):
        authority.hangs = True
        first = azure(upstream, ready_timeout_seconds=3)
        path = write_fallbacks(tmp_path, azure=first, second={"url": upstream.url})
        async with running_relay(path) as relay:
            await connect(relay)
            (line,) = relay.lines("upstream.failed")

    assert line["code"] == "upstream_timeout"


async def test_an_upstream_without_a_token_is_skipped_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        managed_identity(monkeypatch) as authority,
        FakeUpstream().running() as upstream,
    ):
        authority.refuses = True
        path = write_fallbacks(tmp_path, azure=azure(upstream), second={"url": upstream.url})
        async with running_relay(path) as relay:
            for _ in range(FAILURES + 1):
                await connect(relay)
            assert len(relay.lines("upstream.failed")) == FAILURES


def problems(path: Path) -> str:
    """Return what is wrong with a configuration."""
    with pytest.raises(InvalidConfig) as caught:
        load(path, {})
    return str(caught.value)


@pytest.mark.parametrize("missing", ["azure", "azure.identity"])
def test_without_the_extra_a_key_is_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    path = write_fallbacks(tmp_path, azure={"provider": "azure", "url": "https://r.example"})
    assert load(path, {}).upstreams["azure"].api_key is None

    monkeypatch.delitem(sys.modules, "azure.identity", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)

    assert problems(path).endswith(
        'upstreams.azure.api_key: is required, or the extra "azure": '
        'pip install "realtime-relay[azure]"'
    )


@pytest.mark.parametrize("provider", ["azure", "compatible"])
def test_an_api_version_is_for_the_preview_only(tmp_path: Path, provider: str) -> None:
    """The GA interface answers it with 401."""
    keys = {"provider": provider, "url": "https://r.example?api-version=2025-04-01-preview"}

    assert "has an api-version: only azure takes one, with dialect: beta" in problems(
        write_fallbacks(tmp_path, some=keys)
    )
