"""Turns with the async client of the package `openai`; the argument is the dialect."""

import asyncio
import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import openai
from dialects import DIALECTS, HELLO, pointed

SPEECH = Path(os.environ["RELAY_SPEECH"]).read_bytes()
CHUNK_BYTES = 4_800
dialect = DIALECTS[sys.argv[1]]
saw = {"version": openai.__version__, "answers": [], "audio_bytes": 0, "called": []}


async def response(connection: Any) -> Any:
    """Receive until the end of a response, and return it."""
    async for event in connection:
        if event.type == "error":
            raise RuntimeError(event.error.message)
        if event.type == dialect.audio_delta:
            saw["audio_bytes"] += len(base64.b64decode(event.delta))
        if event.type == dialect.transcript_done:
            saw["answers"].append(event.transcript)
        if event.type == "response.done":
            return event.response
    raise RuntimeError("closed before the response was done")


async def talk(connection: Any) -> None:
    await connection.session.update(session=dialect.session)
    await connection.conversation.item.create(item=HELLO)
    await connection.response.create()
    await response(connection)

    for start in range(0, len(SPEECH), CHUNK_BYTES):
        audio = base64.b64encode(SPEECH[start : start + CHUNK_BYTES]).decode()
        await connection.input_audio_buffer.append(audio=audio)
    for call in (await response(connection)).output:
        saw["called"].append([call.name, json.loads(call.arguments)])
        output = json.dumps({"stopped_at": "the blue door"})
        item = {"type": "function_call_output", "call_id": call.call_id, "output": output}
        await connection.conversation.item.create(item=item)
    await connection.response.create()
    await response(connection)


async def main() -> None:
    persona = {"persona": os.environ["RELAY_PERSONA"]}
    async with openai.AsyncOpenAI(**pointed(sys.argv[1])) as client:
        realtime = dialect.realtime(client)
        async with realtime.connect(model=dialect.model, extra_query=persona) as connection:
            await talk(connection)


asyncio.run(main())
print(json.dumps(saw))
