"""The command ``relay`` in this process, up to the point at which it would serve."""

import hashlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from relays import PERSONA, write_config

import relay
from relay import cli
from relay.simulator import speech

pytestmark = pytest.mark.usefixtures("own_logging", "unfrozen")

MCP = """
        - type: mcp
          server_label: clinic
          server_url: https://mcp.example.com
          authorization: PLANTED-TOKEN
          headers: {X-Key: PLANTED-HEADER}
        - {type: mcp, server_label: plain, server_url: "https://mcp.example.com"}
"""


@pytest.fixture
def port_in_use() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"{listener.getsockname()[1]}"


@pytest.fixture
def config(tmp_path: Path) -> str:
    personas = {"receptionist": PERSONA + MCP, "concierge": PERSONA}
    return str(write_config(tmp_path, "http://127.0.0.1:1/v1", personas=personas))


def test_the_version_shows_whether_the_relay_is_compiled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])

    build = "compiled" if os.environ.get("RELAY_REQUIRE_COMPILED") else "Python"
    assert capsys.readouterr().out == f"relay {relay.__version__} ({build})\n"


@pytest.mark.parametrize("command", ["serve", "demo", "simulate"])
def test_an_address_in_use_is_a_failure(
    config: str,
    port_in_use: str,
    command: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speech, "is_installed", bool)
    given = ["--config", config] if command == "serve" else []

    assert cli.main([command, *given, "--port", port_in_use]) == 1
    assert "address already in use" in capsys.readouterr().err


def test_a_relay_without_clients_does_not_listen_for_other_machines(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", "--config", config, "--host", "0.0.0.0"]) == 2  # noqa: S104
    assert capsys.readouterr().err.startswith("relay: --host 0.0.0.0 ")


def test_a_script_that_cannot_be_read_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("[{on: nowhere, do: stall}]")

    assert cli.main(["simulate", "--script", str(script)]) == 2
    assert str(script) in capsys.readouterr().err


def test_the_prompt_of_a_persona_is_printed_without_credentials(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["prompt", "receptionist", "--config", config]) == 0
    printed = capsys.readouterr().out
    update = json.loads(printed)

    assert update["type"] == "session.update"
    assert update["session"]["audio"]["output"]["voice"] == "marin"
    _, clinic, plain = update["session"]["tools"]
    assert (clinic["authorization"], clinic["headers"]) == ("***", {"X-Key": "***"})
    assert "authorization" not in plain
    assert "PLANTED-TOKEN" not in printed
    assert "PLANTED-HEADER" not in printed


def test_the_prompt_of_an_unknown_persona_is_wrong_usage(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["prompt", "nobody", "--config", config]) == 2
    assert "concierge, receptionist" in capsys.readouterr().err


def test_a_new_key_is_printed_with_its_hash(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["key", "new"]) == 0
    printed = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines()[:2])

    assert printed["key"].startswith("rk_")
    assert printed["key_sha256"] == hashlib.sha256(printed["key"].encode()).hexdigest()
