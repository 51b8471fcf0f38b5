"""Upstreams of Azure: their addresses, and the credentials that the relay sends."""

import asyncio
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
from aiohttp import web
from fakes import Call, FakeUpstream
from handshakes import connect_once, refusal_code
from relays import RunningRelay, receive, running_relay, write_fallbacks

from relay.config.loading import InvalidConfig, load
from relay.core.circuit import FAILURES
from relay.upstreams.entra import identity

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def azure(upstream: FakeUpstream, **more: Any) -> dict[str, Any]:
    """Return the configuration of an upstream of Azure."""
    url = upstream.url.removesuffix("/v1") + "/openai/v1"
    return {"provider": "azure", "url": url, **more}


async def test_a_key_has_its_own_header_and_the_model_is_the_deployment(
    tmp_path: Path,
) -> None:
    async with FakeUpstream().running() as upstream:
        path = write_fallbacks(tmp_path, azure=azure(upstream, api_key="PLANTED-KEY"))
        async with running_relay(path) as relay:
            await connect_once(relay)
    request = upstream.calls[0].request

    assert request.path_qs == "/openai/v1/realtime?model=gpt-realtime-2.1"
    assert request.headers["api-key"] == "PLANTED-KEY"
    assert "Authorization" not in request.headers


async def test_a_request_to_the_preview_names_version_and_deployment(tmp_path: Path) -> None:
    addresses = asyncio.Queue[str]()

    async def record(request: web.Request) -> web.StreamResponse:
        addresses.put_nowait(request.path_qs)
        return web.Response(status=401)

    async with FakeUpstream(answer=record).running() as upstream:
        keys = azure(upstream, api_key="PLANTED-KEY", dialect="beta")
        path = write_fallbacks(tmp_path, azure=keys)
        async with running_relay(path) as relay:
            assert await refusal_code(relay) == "upstream_refused"

    assert await addresses.get() == (
        "/openai/realtime?api-version=2025-04-01-preview&deployment=gpt-realtime-2.1"
    )


async def test_the_usage_of_a_deployment_is_billed_by_its_name(tmp_path: Path) -> None:
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
    """The endpoint of a managed identity, as in Azure App Service.

    https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
    """

    valid_seconds: int = 3600
    requests: list[web.Request] = field(default_factory=list)
    refuses: bool = False
    hangs: bool = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer with a token, refuse, or never answer."""
        self.requests.append(request)
        if self.hangs:
            await asyncio.Event().wait()
        if self.refuses:
            message = "AADSTS7000215: Invalid client secret: 'PLANTED-SECRET'."
            wrong = {"error": "invalid_client", "error_description": message}
            return web.json_response(wrong, status=400)
        expires_on = int(time.time()) + self.valid_seconds
        token = {
            "access_token": f"PLANTED-TOKEN-{len(self.requests)}",
            "expires_on": str(expires_on),
            "resource": request.query["resource"],
            "token_type": "Bearer",
        }
        return web.json_response(token)


@pytest.fixture
async def authority(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Authority]:
    """Give this process a managed identity, and no other credentials."""
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
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # the relay must not use it
    yield authority
    await runner.cleanup()


@asynccontextmanager
async def on_azure(folder: Path) -> AsyncIterator[tuple[RunningRelay, FakeUpstream]]:
    """Run a relay on an upstream of Azure without a key."""
    async with FakeUpstream().running() as upstream:
        async with running_relay(write_fallbacks(folder, azure=azure(upstream))) as relay:
            yield relay, upstream


async def test_without_a_key_the_relay_sends_a_token_of_entra_id_and_keeps_it(
    tmp_path: Path, authority: Authority
) -> None:
    async with on_azure(tmp_path) as (relay, upstream):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(5):
                tasks.create_task(connect_once(relay))
    (request,) = authority.requests

    assert request.query["resource"] == "https://ai.azure.com"
    for call in upstream.calls:
        assert call.request.headers["Authorization"] == "Bearer PLANTED-TOKEN-1"
        assert "api-key" not in call.request.headers


async def test_the_relay_runs_the_azure_cli_once_for_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package does not keep these tokens, and each run of the CLI takes a second."""
    az = tmp_path / "bin" / "az"
    az.parent.mkdir()
    az.write_text(
        f"#!/bin/sh\necho run >>{tmp_path}/runs\n"
        """echo '{"accessToken": "PLANTED-CLI", "expires_on": 4102444800}'"""
    )
    az.chmod(0o755)
    monkeypatch.setenv("PATH", f"{az.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    async with on_azure(tmp_path) as (relay, upstream):
        await connect_once(relay)
        await connect_once(relay)

    assert (tmp_path / "runs").read_text() == "run\n"
    assert upstream.calls[1].request.headers["Authorization"] == "Bearer PLANTED-CLI"


async def test_the_credential_is_closed_at_the_end() -> None:
    class Credential:
        closed = False

        async def close(self) -> None:
            self.closed = True

    credential: Any = Credential()
    async with identity() as entra:
        entra._credential = credential
        assert not credential.closed
    assert credential.closed


async def test_an_expired_token_is_replaced(tmp_path: Path, authority: Authority) -> None:
    async with on_azure(tmp_path) as (relay, upstream):
        authority.valid_seconds = 0
        await connect_once(relay)
        authority.valid_seconds = 3600
        await connect_once(relay)
        await connect_once(relay)
    sent = [call.request.headers["Authorization"] for call in upstream.calls]

    assert sent == [f"Bearer PLANTED-TOKEN-{number}" for number in (1, 2, 2)]


async def test_without_a_token_the_session_is_refused_and_the_log_has_the_reason_without_secrets(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "relay")
    async with on_azure(tmp_path) as (relay, _):
        authority.refuses = True
        assert await refusal_code(relay) == "upstream_refused"
        (line,) = relay.lines("upstream.failed")
        authority.refuses = False
        await connect_once(relay)

    assert line["upstream"] == "azure"
    assert line["detail"] == (
        "no token of Entra ID: ClientAuthenticationError AADSTS7000215"
        " after ManagedIdentityCredential"
    )
    assert "PLANTED" not in caplog.text


async def test_an_authority_that_hangs_leaves_time_for_the_next_upstream(
    tmp_path: Path, authority: Authority
) -> None:
    authority.hangs = True
    async with FakeUpstream().running() as upstream:
        first = azure(upstream, ready_timeout_seconds=3)
        path = write_fallbacks(tmp_path, azure=first, second={"url": upstream.url})
        async with running_relay(path) as relay:
            await connect_once(relay)
            (line,) = relay.lines("upstream.failed")

    assert line["code"] == "upstream_timeout"


async def test_an_upstream_without_a_token_is_skipped_after_some_failures(
    tmp_path: Path, authority: Authority
) -> None:
    authority.refuses = True
    async with FakeUpstream().running() as upstream:
        path = write_fallbacks(tmp_path, azure=azure(upstream), second={"url": upstream.url})
        async with running_relay(path) as relay:
            for _ in range(FAILURES + 1):
                await connect_once(relay)
            assert len(relay.lines("upstream.failed")) == FAILURES


def problems(path: Path) -> str:
    """Return the problems of a configuration."""
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
def test_only_the_preview_takes_an_api_version(tmp_path: Path, provider: str) -> None:
    """The GA interface answers it with 401."""
    keys = {"provider": provider, "url": "https://r.example?api-version=2025-04-01-preview"}

    assert "has an api-version: only azure takes one, with dialect: beta" in problems(
        write_fallbacks(tmp_path, some=keys)
    )
