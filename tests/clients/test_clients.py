"""Stock clients have a conversation through the relay, each in an environment of its own.

Each says hello in text, says "go forward ten meters" aloud, runs the function that is called, and
hears what came of it. Out of habit each also sends a session of its own, with a pirate for a
prompt. What is seen here is what docs/clients.md says of it.
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
"""A framework may take long to start where much else runs."""

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
DONE_TO = {"field_stripped": "left out fields of", "event_not_allowed": "refused"}
BLOCKED = re.compile(r'relay_blocked_events_total{reason="(?P<reason>.*)",type="(?P<type>.*)"}')


@dataclass
class Stage:
    """A relay on a local upstream.

    Attributes:
        told: What a script has in its environment.
        received: What the upstream received.
    """

    relay: RunningRelay
    told: Mapping[str, str]
    received: list[dict[str, Any]]

    async def blocked(self) -> dict[str, list[str]]:
        """Return the types of the events that were not passed on as they came, by reason."""
        blocked: dict[str, list[str]] = {}
        for sample in sorted(await self.relay.metrics()):
            if found := BLOCKED.fullmatch(sample):
                blocked.setdefault(found["reason"], []).append(found["type"])
        return blocked


@asynccontextmanager
async def staged(folder: Path, client: StockClient) -> AsyncIterator[Stage]:
    """Set the stage: the upstream makes out what is said, and the persona owns its answer."""
    received: list[dict[str, Any]] = []

    def observe(observation: object) -> None:
        if isinstance(observation, Received):
            received.append(json.loads(observation.message))

    told = {
        "RELAY_KEY": KEY,
        "RELAY_PERSONA": "robot",
        "RELAY_SPEECH": str(folder / "speech.pcm"),
        "RELAY_ORIGIN": f"http://127.0.0.1:{unused_port()}",
        "RELAY_CHROMIUM": shutil.which("chromium") or "",
    }
    settings = f"{SETTINGS}browser: {{allowed_origins: ['{told['RELAY_ORIGIN']}']}}\n"
    if client.tls:
        certificate = issue(folder)
        settings += f"server: {{{certificate.settings}}}\n"
        told["NODE_EXTRA_CA_CERTS"] = str(certificate.cert)
    (folder / "speech.pcm").write_bytes(clip("goforward.wav") + SILENCE)
    replies = [ScriptedReply.of("hello", READY, instructions=INSTRUCTIONS)]
    engines = knowing("Go forward ten meters.")
    async with simulated(engines=engines, replies=replies, observer=observe) as upstream:
        path = write_config(folder, upstream.base_url, settings, PERSONAS)
        async with running_relay(path, CLIENT_SECONDS) as relay:
            yield Stage(relay, {"RELAY_URL": relay.base_url, **told}, received)


async def talk(client: StockClient, told: Mapping[str, str]) -> dict[str, Any]:
    """Run a client's script, and return what it saw."""
    # The keys of whoever runs the tests are none of its business.
    environment = {name: os.environ[name] for name in os.environ if "OPENAI" not in name}
    process = await asyncio.create_subprocess_exec(
        *client.command(),
        env={**environment, **told},
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )
    try:
        output, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert process.returncode == 0, complaints.decode()
    saw: dict[str, Any] = json.loads(output.splitlines()[-1])
    return saw


def row(client: StockClient, saw: Mapping[str, Any], blocked: Mapping[str, Sequence[str]]) -> Row:
    """Return what the table says of what was seen."""
    wrote, spoke = saw["answers"]
    hears = spoke.endswith(f"{STOPPED_AT}.") and saw["audio_bytes"] > BYTES_PER_SECOND
    called = saw["called"] == [["go_forward", {"meters": 10}]]
    return Row(
        client=client.name,
        version=saw["version"],
        transport=client.transport,
        text_turn="yes" if wrote.endswith(READY) else "no",
        audio_turn="yes" if hears else "no",
        function_call="yes" if called else "no",
        notes="; ".join(notes(blocked)) or "-",
    )


def notes(blocked: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Say what was not passed on as it came."""
    for reason, types in blocked.items():
        events = ", ".join(f"`{type_}`" for type_ in types)
        yield f"{DONE_TO[reason]} {events}"


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
    async with staged(tmp_path, client) as stage:
        saw = await talk(client, stage.told)
        ended = await stage.relay.ended()
        seen = row(client, saw, await stage.blocked())

    assert {key: ended[key] for key in ENDED} == ENDED
    assert_the_persona_stood(stage.received)
    if pytestconfig.getoption("--write-table"):
        client_table.write(seen)
    assert client_table.read().get(client.name) == seen, "make clients ARGS=--write-table"


def assert_the_persona_stood(received: Sequence[Mapping[str, Any]]) -> None:
    """One session.update came, the relay's own, and no response had settings of its own."""
    (update,) = (event["session"] for event in received if event["type"] == "session.update")
    assert update["instructions"] == INSTRUCTIONS
    asked = [event.get("response", {}) for event in received if event["type"] == "response.create"]
    assert all(response.keys() <= {"metadata"} for response in asked)
