"""The configuration: values, defaults, secrets."""

import hashlib
import ssl
from pathlib import Path

import pytest
from configurations import PERSONA, PRICES, RELAY, SECRET, Load, ProblemsOf, changed
from pydantic import ValidationError

from relay.config.models import check_listen


def test_a_configuration_has_the_values_of_its_files(load_text: Load, folder: Path) -> None:
    loaded = load_text()

    assert loaded.file == folder / "relay.yaml"
    assert (loaded.server.host, loaded.server.port, loaded.server.log_format) == (
        "0.0.0.0",  # noqa: S104  # nothing listens
        8080,
        "auto",
    )
    openai, local = loaded.upstreams["openai"], loaded.upstreams["local"]
    assert openai.api_key is not None
    assert openai.api_key.get_secret_value() == SECRET
    assert (openai.url, openai.provider) == ("https://api.openai.com/v1", "openai")
    assert (local.url, local.api_key) == ("ws://127.0.0.1:9000/v1", None)
    assert loaded.default_persona == "receptionist"
    assert loaded.limits.max_message_bytes == 16777216
    assert not loaded.anonymous
    persona = loaded.personas["receptionist"]
    assert (persona.name, persona.model) == ("receptionist", "gpt-realtime-2.1")
    assert persona.upstream == ("openai", "local")
    assert (persona.limits.idle_seconds, persona.limits.max_session_seconds) == (60, 3600)
    assert loaded.clients["kiosk"].personas == ("receptionist",)


def test_a_client_is_known_by_digests_only(load_text: Load) -> None:
    """The digest of a plain key is treated like a configured digest."""
    digest = hashlib.sha256(b"other").hexdigest()
    keys = f"key: [a, b]\n    key_sha256: {digest.upper()}"

    client = load_text(changed(RELAY, "key: ${RELAY_CLIENT_KEY}", keys)).clients["kiosk"]

    assert client.key_sha256 == (
        digest,
        hashlib.sha256(b"a").hexdigest(),
        hashlib.sha256(b"b").hexdigest(),
    )


def test_a_configuration_cannot_be_changed(load_text: Load) -> None:
    loaded = load_text()

    with pytest.raises(ValidationError):
        loaded.server.port = 1
    with pytest.raises(TypeError):
        loaded.upstreams["x"] = loaded.upstreams["openai"]  # type: ignore[index]  # the point


def test_its_representation_shows_no_secret_and_no_prompt(load_text: Load) -> None:
    """The log of an exception may contain the representation of a configuration."""
    upstream = "${OPENAI_API_KEY}\n    headers: {x-gateway: header-s3cret}"
    loaded = load_text(changed(RELAY, "${OPENAI_API_KEY}", upstream))

    assert loaded.upstreams["openai"].headers["x-gateway"].get_secret_value() == "header-s3cret"
    assert "s3cret" not in repr(loaded)
    assert "Be brief" not in repr(loaded)


def test_a_value_from_the_environment_is_text(load_text: Load) -> None:
    relay = changed(RELAY, "port: 8080", "port: ${PORT}\n  log_format: ${FORMAT:-json}")

    loaded = load_text(relay, OPENAI_API_KEY="{a:#!*", PORT="9090")

    assert loaded.server.port == 9090
    assert loaded.server.log_format == "json"
    key = loaded.upstreams["openai"].api_key
    assert key is not None
    assert key.get_secret_value() == "{a:#!*"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_a_relay_without_keys_may_listen_on_loopback(host: str, load_text: Load) -> None:
    relay = RELAY[: RELAY.index("clients:")].replace("0.0.0.0", f'"{host}"')  # noqa: S104

    assert load_text(relay).anonymous
    assert check_listen(host) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.com", "[::1]"])  # noqa: S104
def test_a_relay_without_keys_may_not_listen_elsewhere(host: str, problems_of: ProblemsOf) -> None:
    relay = RELAY[: RELAY.index("clients:")].replace("0.0.0.0", f'"{host}"')  # noqa: S104

    assert problems_of(relay) == [f"relay.yaml:2: server.host: {check_listen(host)}"]


def test_the_path_of_certificates_starts_at_the_folder_of_the_file(
    load_text: Load, folder: Path
) -> None:
    bundle = ssl.get_default_verify_paths().cafile
    if bundle is None:
        pytest.skip("this machine has no file of certificates")
    (folder / "ca.pem").write_bytes(Path(bundle).read_bytes())

    loaded = load_text(changed(RELAY, "/v1/", "/v1/\n    ca_file: ca.pem"))

    assert loaded.upstreams["local"].ca_file == folder / "ca.pem"


def test_origins_are_exact(load_text: Load) -> None:
    origins = ["https://shop.example", "http://localhost:3000", "http://[::1]:80", "app://x"]

    loaded = load_text(f"{RELAY}browser: {{allowed_origins: {origins}}}\n")

    assert loaded.browser.allowed_origins == tuple(origins)


def test_each_optional_section_is_read(load_text: Load, folder: Path) -> None:
    (folder / "prices.yaml").write_text(PRICES)
    relay = f"""{RELAY}
    trusted: true
    limits: {{usd_per_day: 0.1}}
secrets: {{signing_keys: {"k" * 32}}}
usage: {{path: usage.db}}
"""
    persona = f"{PERSONA}variables: {{clinic: {{default: x}}}}\ndemo: [{{when: a, say: b}}]\n"

    loaded = load_text(relay, persona)

    assert loaded.clients["kiosk"].trusted
    assert str(loaded.clients["kiosk"].limits.usd_per_day) == "0.1"
    assert loaded.secrets is not None
    assert len(loaded.secrets.signing_keys) == 1
    assert loaded.usage.path == loaded.file.parent / "usage.db"
    assert loaded.personas["receptionist"].variables["clinic"].max_length == 100
    assert loaded.personas["receptionist"].demo[0].say == "b"
