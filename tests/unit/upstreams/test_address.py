"""The WebSocket address of a session, by provider and dialect."""

import pytest

from relay.config.upstream import Upstream
from relay.upstreams.address import realtime_url

MODEL = "gpt-realtime-2.1"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://api.openai.com/v1", "wss://api.openai.com/v1/realtime"),
        ("https://eu.api.openai.com/v1", "wss://eu.api.openai.com/v1/realtime"),
        ("http://127.0.0.1:9/v1/", "ws://127.0.0.1:9/v1/realtime"),
        ("wss://h:1", "wss://h:1/realtime"),
        ("ws://h/x/y", "ws://h/x/y/realtime"),
    ],
)
@pytest.mark.parametrize("provider", ["openai", "compatible"])
def test_the_address_is_below_the_url(provider: str, url: str, address: str) -> None:
    upstream = Upstream.model_validate({"provider": provider, "url": url, "api_key": "k"})

    assert str(realtime_url(upstream, {"model": MODEL})) == f"{address}?model={MODEL}"


RESOURCE = "https://clinic.openai.azure.com"
WRITTEN = ["", "/", "/openai", "/openai/", "/openai/v1", "/openai/v1/", "/openai/v1/realtime"]
"""The paths that people write after the host, or copy from the portal."""


@pytest.mark.parametrize("written", WRITTEN)
def test_azure_is_found_with_any_path_after_the_resource(written: str) -> None:
    upstream = azure(RESOURCE + written)

    assert str(realtime_url(upstream, {"model": "reception"})) == (
        "wss://clinic.openai.azure.com/openai/v1/realtime?model=reception"
    )


@pytest.mark.parametrize("written", WRITTEN)
def test_the_preview_of_azure_requires_a_version_and_a_deployment(written: str) -> None:
    upstream = azure(RESOURCE + written, dialect="beta")

    assert str(realtime_url(upstream, {"model": "reception"})) == (
        "wss://clinic.openai.azure.com/openai/realtime"
        "?api-version=2025-04-01-preview&deployment=reception"
    )


@pytest.mark.parametrize("written", WRITTEN)
def test_the_url_may_choose_the_version_of_the_preview(written: str) -> None:
    upstream = azure(f"{RESOURCE}{written}?api-version=2024-10-01-preview", dialect="beta")

    assert dict(realtime_url(upstream, {"model": "reception"}).query) == {
        "api-version": "2024-10-01-preview",
        "deployment": "reception",
    }
    assert realtime_url(upstream, {"model": "reception"}).path == "/openai/realtime"


def test_a_gateway_before_azure_keeps_its_own_path() -> None:
    upstream = azure("http://gateway:8000/openai-eu/openai/v1")

    assert str(realtime_url(upstream, {"model": "reception"})) == (
        "ws://gateway:8000/openai-eu/openai/v1/realtime?model=reception"
    )


def test_a_transcription_is_requested_by_intent() -> None:
    intent = {"intent": "transcription"}

    assert dict(realtime_url(azure(RESOURCE), intent).query) == intent
    assert dict(realtime_url(azure(RESOURCE, "beta"), intent).query) == intent | {
        "api-version": "2025-04-01-preview"
    }


def test_a_name_is_escaped() -> None:
    assert (
        realtime_url(azure(RESOURCE), {"model": "a&b=c#d"}).raw_query_string
        == "model=a%26b%3Dc%23d"
    )


def azure(url: str, dialect: str = "ga") -> Upstream:
    """Return an upstream of Azure's."""
    keys = {"provider": "azure", "url": url, "api_key": "k", "dialect": dialect}
    return Upstream.model_validate(keys)
