"""The headers of the request that opens a session at an upstream."""

import relay
from relay.config.upstream import Upstream
from relay.upstreams.entra import Entra


async def upstream_headers(upstream: Upstream, user: str | None, entra: Entra) -> dict[str, str]:
    """Return the headers; ``user`` is the hash of the end user.

    Raises:
        NoToken: the upstream has no key, and Entra ID gives no token.
    """
    own = {
        "User-Agent": f"realtime-relay/{relay.__version__}",
        "OpenAI-Organization": upstream.organization,
        "OpenAI-Project": upstream.project,
        "OpenAI-Safety-Identifier": user,
    }
    if upstream.dialect == "beta":
        own["OpenAI-Beta"] = "realtime=v1"
    configured = {name: value.get_secret_value() for name, value in upstream.headers.items()}
    named = {name: value for name, value in own.items() if value}
    return configured | named | await _credential(upstream, entra)


async def _credential(upstream: Upstream, entra: Entra) -> dict[str, str]:
    """Return the header with the relay's credential."""
    azure, key = upstream.provider == "azure", upstream.api_key
    if key is None:
        return {"Authorization": f"Bearer {await entra.token()}"} if azure else {}
    secret = key.get_secret_value()
    return {"api-key": secret} if azure else {"Authorization": f"Bearer {secret}"}
