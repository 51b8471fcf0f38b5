"""Stock clients have a conversation through the relay, each in an environment of its own.

Each client sends the text "Hello", sends a recording of "go forward ten meters", runs the function
that the model calls, and receives the answer. Like its usual users, it also sends a session of its
own, with the prompt of a pirate. The table of docs/clients.md has the results.
"""

import asyncio
import json
import os
import re
import shutil
import signal
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import client_table
import pytest
from aiohttp.test_utils import unused_port
from certificates import issue
from client_table import Row
from relays import RunningRelay, running_relay, write_config
from simulated import BYTES_PER_SECOND, SILENCE, clip, knowing, simulated
from stock_clients import CLIENTS, StockClient

from relay.simulator import Received, ScriptedReply

CLIENT_SECONDS = 90
"""A framework may start slowly on a busy machine."""

INSTRUCTIONS = "You steer a robot; the canary is PLANTED-PROMPT."
READY, STOPPED_AT = "Ready when you are.", "the blue door"
ROBOT = f"""
    upstream: fake
    session:
      model: gpt-realtime-2.1
      instructions: {INSTRUCTIONS}
      audio:
        input: {{transcription: {{model: gpt-4o-transcribe}}}}
        output: {{voice: marin}}
      tools:
        - type: function
          name: go_forward
          description: PLANTED-TOOL
          parameters:
            type: object
            properties: {{meters: {{type: integer}}}}
            required: [meters]
            additionalProperties: false
"""
OTHER = """
    upstream: fake
    session: {model: gpt-realtime-2.1, instructions: Nobody wants this one.}
"""
PERSONAS = {"receptionist": OTHER, "robot": ROBOT}
KEY = "sk-robot-0123456789abcdef"
SETTINGS = f"""
clients: {{app: {{key: {KEY}, trusted: true}}}}
secrets: {{signing_keys: [signing-key-PLANTED-0123456789abcdef]}}
"""
ENDED = {
    "persona": "robot",
    "client": "app",
    "ended_by": "client",
    "outcome": "completed",
    "close_code": 1000,
    "responses": {"completed": 3},
    "upstream_errors": {},
}
ACTIONS = {"field_stripped": "left out fields of", "event_not_allowed": "refused"}
BLOCKED = re.compile(r'relay_blocked_events_total{reason="(?P<reason>.*)",type="(?P<type>.*)"}')


@dataclass
class RobotRelay:
    """A relay with the persona ``robot`` on a local upstream.

    Attributes:
        environment: Environment variables for the script of a client.
        received: Events that the upstream received.
    """

    relay: RunningRelay
    environment: Mapping[str, str]
    received: list[dict[str, Any]]

    async def blocked(self) -> dict[str, list[str]]:
        """Return the types of the events that the relay changed or refused, by reason."""
        blocked: dict[str, list[str]] = {}
        for sample in sorted(await self.relay.metrics()):
            if found := BLOCKED.fullmatch(sample):
                blocked.setdefault(found["reason"], []).append(found["type"])
        return blocked


@asynccontextmanager
async def running_robot(folder: Path, client: StockClient) -> AsyncIterator[RobotRelay]:
    """Run a relay whose upstream recognizes the recording, and answers as the persona only."""
    received: list[dict[str, Any]] = []

    def observe(observation: object) -> None:
        if isinstance(observation, Received):
            received.append(json.loads(observation.message))

    environment = {
        "RELAY_KEY": KEY,
        "RELAY_PERSONA": "robot",
        "RELAY_SPEECH": str(folder / "speech.pcm"),
        "RELAY_ORIGIN": f"http://127.0.0.1:{unused_port()}",
        "RELAY_CHROMIUM": shutil.which("chromium") or "",
    }
    settings = f"{SETTINGS}browser: {{allowed_origins: ['{environment['RELAY_ORIGIN']}']}}\n"
    if client.tls:
        certificate = issue(folder)
        settings += f"server: {{{certificate.settings}}}\n"
        environment["NODE_EXTRA_CA_CERTS"] = str(certificate.cert)
    (folder / "speech.pcm").write_bytes(clip("goforward.wav") + SILENCE)
    replies = [ScriptedReply.of("hello", READY, instructions=INSTRUCTIONS)]
    engines = knowing("Go forward ten meters.")
    async with simulated(engines=engines, replies=replies, observer=observe) as upstream:
        path = write_config(folder, upstream.base_url, settings, PERSONAS)
        async with running_relay(path, CLIENT_SECONDS) as relay:
            yield RobotRelay(relay, {"RELAY_URL": relay.base_url, **environment}, received)


async def run_script(client: StockClient, environment: Mapping[str, str]) -> dict[str, Any]:
    """Run the script of a client, and return its results."""
    # The script must not use the keys of the person that runs the tests. It has modules beside it.
    inherited = {
        name: os.environ[name]
        for name in os.environ
        if "OPENAI" not in name and name != "PYTHONSAFEPATH"
    }
    process = await asyncio.create_subprocess_exec(
        *client.command(),
        env={**inherited, **environment},
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert process.returncode == 0, errors.decode()
    results: dict[str, Any] = json.loads(output.splitlines()[-1])
    return results


def row(
    client: StockClient, results: Mapping[str, Any], blocked: Mapping[str, Sequence[str]]
) -> Row:
    """Return the row of the table for the results of a client."""
    to_text, to_audio = results["answers"]
    has_audio = results["audio_bytes"] > BYTES_PER_SECOND
    called = results["called"] == [["go_forward", {"meters": 10}]]
    return Row(
        client=client.name,
        version=results["version"],
        transport=client.transport,
        text_turn="yes" if to_text.endswith(READY) else "no",
        audio_turn="yes" if to_audio.endswith(f"{STOPPED_AT}.") and has_audio else "no",
        function_call="yes" if called else "no",
        notes="; ".join(notes(blocked)) or "-",
    )


def notes(blocked: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield a note for each reason for which the relay changed or refused events."""
    for reason, types in blocked.items():
        events = ", ".join(f"`{type_}`" for type_ in types)
        yield f"{ACTIONS[reason]} {events}"


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(client, id=client.name, marks=[pytest.mark.slow] if client.slow else [])
        for client in CLIENTS
    ],
)
async def test_a_stock_client_has_its_turns(
    client: StockClient, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    if missing := client.missing():
        pytest.skip(missing)
    async with running_robot(tmp_path, client) as robot:
        results = await run_script(client, robot.environment)
        ended = await robot.relay.ended()
        observed = row(client, results, await robot.blocked())

    assert {key: ended[key] for key in ENDED} == ENDED
    assert_only_the_persona_configured(robot.received)
    if pytestconfig.getoption("--write-table"):
        client_table.write(observed)
    assert client_table.read().get(client.name) == observed, "make clients ARGS=--write-table"


def assert_only_the_persona_configured(received: Sequence[Mapping[str, Any]]) -> None:
    """Check that the only session.update was the relay's, and that no response had settings."""
    (update,) = (event["session"] for event in received if event["type"] == "session.update")
    assert update["instructions"] == INSTRUCTIONS
    requests = [e.get("response", {}) for e in received if e["type"] == "response.create"]
    assert all(response.keys() <= {"metadata"} for response in requests)
