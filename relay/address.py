"""Where the WebSocket of a session is: what each provider makes of the URL in the configuration."""

import re

from yarl import URL

from relay.config import Upstream

PREVIEW_API_VERSION = "2025-04-01-preview"
"""The last of Azure's preview, which speaks beta."""

_SCHEMES = {"http": "ws", "https": "wss"}
_FROM_OPENAI_ON = re.compile(r"/openai(/.*)?$")


def realtime_url(upstream: Upstream, model: str) -> URL:
    """Return the WebSocket address of a session with this model."""
    url = URL(upstream.url)
    url = url.with_scheme(_SCHEMES.get(url.scheme, url.scheme))
    if upstream.provider == "azure":
        return _azure(url, upstream.dialect, deployment=model)
    return url.joinpath("realtime").with_query(model=model)


def _azure(url: URL, dialect: str, deployment: str) -> URL:
    """Return an address of Azure's, whatever the URL says of the path from ``/openai`` on.

    The GA interface answers 401 to an ``api-version``, and the preview wants one
    (https://learn.microsoft.com/azure/ai-foundry/openai/how-to/realtime-audio-websockets).
    """
    resource = url.with_path(_FROM_OPENAI_ON.sub("", url.path.rstrip("/")))
    if dialect == "ga":
        return resource.joinpath("openai/v1/realtime").with_query(model=deployment)
    version = url.query.get("api-version", PREVIEW_API_VERSION)
    query = {"api-version": version, "deployment": deployment}
    return resource.joinpath("openai/realtime").with_query(query)
