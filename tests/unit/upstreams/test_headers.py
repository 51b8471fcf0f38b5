"""The headers of the request that opens a session at an upstream."""

from typing import Any

import pytest

from relay.config.upstream import Upstream
from relay.upstreams.entra import Entra
from relay.upstreams.headers import upstream_headers


class FixedToken(Entra):
    async def token(self) -> str:
        return "a-token"


async def headers(user: str | None = None, **upstream: Any) -> dict[str, str]:
    """Return the headers for an upstream, without the version of the relay."""
    configured = Upstream.model_validate({"url": "https://h/v1", **upstream})
    sent = await upstream_headers(configured, user, FixedToken())
    assert sent.pop("User-Agent").startswith("realtime-relay/")
    return sent


@pytest.mark.parametrize(
    ("upstream", "credential"),
    [
        ({"provider": "openai", "api_key": "k"}, {"Authorization": "Bearer k"}),
        ({"provider": "compatible", "api_key": "k"}, {"Authorization": "Bearer k"}),
        ({"provider": "compatible"}, {}),
        ({"provider": "azure", "api_key": "k"}, {"api-key": "k"}),
        ({"provider": "azure"}, {"Authorization": "Bearer a-token"}),
    ],
)
async def test_the_credential_depends_on_the_provider_and_the_key(
    upstream: dict[str, str], credential: dict[str, str]
) -> None:
    assert await headers(**upstream) == credential


async def test_configured_values_and_the_end_user_are_sent() -> None:
    upstream = {"provider": "compatible", "headers": {"x-gateway": "eu"}}

    assert await headers("ab", organization="org-1", project="proj-1", **upstream) == {
        "x-gateway": "eu",
        "OpenAI-Organization": "org-1",
        "OpenAI-Project": "proj-1",
        "OpenAI-Safety-Identifier": "ab",
    }


async def test_only_an_upstream_with_the_beta_dialect_gets_the_beta_header() -> None:
    assert await headers(provider="compatible", dialect="beta") == {"OpenAI-Beta": "realtime=v1"}
    assert await headers(provider="compatible", dialect="ga") == {}
