"""Turns with the package `openai-agents`: a `RealtimeRunner`, and a tool that it runs."""

import asyncio
import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession

SPEECH = Path(os.environ["RELAY_SPEECH"]).read_bytes()
CHUNK_BYTES = 4_800
version = importlib.metadata.version("openai-agents")
saw = {"version": version, "answers": [], "audio_bytes": 0, "called": []}


@function_tool
def go_forward(meters: int) -> str:
    """Drive on."""
    saw["called"].append(["go_forward", {"meters": meters}])
    return json.dumps({"stopped_at": "the blue door"})


def transcript(event: dict[str, Any]) -> str | None:
    """Return the transcript of an event that completes one."""
    return event.get("transcript") if event["type"].endswith("audio_transcript.done") else None


def is_answered(event: dict[str, Any]) -> bool:
    """Return whether the event ends a response that contains a message."""
    return event["type"] == "response.done" and event["response"]["output"][0]["type"] == "message"


async def answer(session: RealtimeSession) -> None:
    """Receive until the end of one answer."""
    async for event in session:
        if event.type == "error":
            raise RuntimeError(event.error)
        if event.type == "audio":
            saw["audio_bytes"] += len(event.audio.data)
        if event.type == "raw_model_event" and event.data.type == "raw_server_event":
            if said := transcript(event.data.data):
                saw["answers"].append(said)
            if is_answered(event.data.data):
                return


async def main() -> None:
    query = urlencode({"persona": os.environ["RELAY_PERSONA"]})
    url = os.environ["RELAY_URL"].replace("http", "ws", 1) + "/realtime?" + query
    agent = RealtimeAgent(name="pirate", instructions="You are a pirate.", tools=[go_forward])
    config = {"url": url, "api_key": os.environ["RELAY_KEY"]}
    async with await RealtimeRunner(agent).run(model_config=config) as session:
        await session.send_message("Hello")
        await answer(session)
        for start in range(0, len(SPEECH), CHUNK_BYTES):
            await session.send_audio(SPEECH[start : start + CHUNK_BYTES])
        await answer(session)


asyncio.run(main())
print(json.dumps(saw))
