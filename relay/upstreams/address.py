"""The WebSocket address of a session: each provider derives it from the configured URL."""

import re
from collections.abc import Mapping

from yarl import URL

from relay.config.upstream import Upstream

PREVIEW_API_VERSION = "2025-04-01-preview"
"""The last version of Azure's preview, which uses the beta interface."""

_PREVIEW_NAMES = {"model": "deployment"}
_SCHEMES = {"http": "ws", "https": "wss"}
_OPENAI_PATH = re.compile(r"/openai(/.*)?$")


def realtime_url(upstream: Upstream, query: Mapping[str, str]) -> URL:
    """Return the WebSocket address of a session; ``query`` names the model or the intent."""
    url = URL(upstream.url)
    url = url.with_scheme(_SCHEMES.get(url.scheme, url.scheme))
    if upstream.provider == "azure":
        return _azure(url, upstream.dialect, query)
    return url.joinpath("realtime").with_query(query)


def _azure(url: URL, dialect: str, query: Mapping[str, str]) -> URL:
    """Return the address at Azure; the path of the URL from ``/openai`` on is replaced.

    The GA interface answers 401 to an ``api-version``, and the preview requires one
    (https://learn.microsoft.com/azure/ai-foundry/openai/how-to/realtime-audio-websockets).
    """
    resource = url.with_path(_OPENAI_PATH.sub("", url.path.rstrip("/")))
    if dialect == "ga":
        return resource.joinpath("openai/v1/realtime").with_query(query)
    version = url.query.get("api-version", PREVIEW_API_VERSION)
    named = {_PREVIEW_NAMES.get(name, name): value for name, value in query.items()}
    return resource.joinpath("openai/realtime").with_query({"api-version": version, **named})
