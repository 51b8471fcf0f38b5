"""Turns with the package `pipecat-ai`: a pipeline around its Realtime service."""

import asyncio
import importlib.metadata
import json
import os
from pathlib import Path

from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMRunFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import FunctionCallParams
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner

SPEECH = Path(os.environ["RELAY_SPEECH"]).read_bytes()
CHUNK_BYTES = 4_800
BEGINNING = 15 * CHUNK_BYTES
version = importlib.metadata.version("pipecat-ai")
saw = {"version": version, "answers": [], "audio_bytes": 0, "called": []}


async def go_forward(params: FunctionCallParams, meters: int) -> None:
    """Drive on.

    Args:
        params: The call.
        meters: How far.
    """
    saw["called"].append(["go_forward", {"meters": meters}])
    await params.result_callback({"stopped_at": "the blue door"})


class Ear(FrameProcessor):
    """Collects the texts of the service, and notices an interruption."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: asyncio.Queue[str] = asyncio.Queue()
        self.interrupted = asyncio.Event()
        self._words = ""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            saw["audio_bytes"] += len(frame.audio)
        if isinstance(frame, InterruptionFrame):
            self.interrupted.set()
        if isinstance(frame, TTSTextFrame):
            self._words += frame.text
        if isinstance(frame, LLMFullResponseEndFrame) and self._words:
            self.answers.put_nowait(self._words)
            self._words = ""
        await self.push_frame(frame, direction)


async def main() -> None:
    service = OpenAIRealtimeLLMService(
        api_key=os.environ["RELAY_KEY"],
        base_url=os.environ["RELAY_URL"].replace("http", "ws", 1) + "/realtime",
        settings=OpenAIRealtimeLLMService.Settings(
            model=os.environ["RELAY_PERSONA"], system_instruction="You are a pirate."
        ),
    )
    context = LLMContext([{"role": "user", "content": "Hello"}], tools=[go_forward])
    user, assistant = LLMContextAggregatorPair(context)
    ear = Ear()
    worker = PipelineWorker(Pipeline([user, service, ear, assistant]))
    runner = WorkerRunner(handle_sigint=False)

    async def say(pcm: bytes) -> None:
        for start in range(0, len(pcm), CHUNK_BYTES):
            chunk = pcm[start : start + CHUNK_BYTES]
            await worker.queue_frame(InputAudioRawFrame(chunk, 24_000, 1))

    async def talk() -> None:
        await worker.queue_frame(LLMRunFrame())
        saw["answers"].append(await ear.answers.get())
        # An interruption cancels a function call that comes before the pipeline has handled it.
        # With people the call comes seconds later, but here at once. Therefore, the rest of the
        # speech is sent only after the interruption.
        await say(SPEECH[:BEGINNING])
        await ear.interrupted.wait()
        await say(SPEECH[BEGINNING:])
        saw["answers"].append(await ear.answers.get())
        await worker.stop_when_done()

    await runner.add_workers(worker)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run())
        tasks.create_task(talk())


asyncio.run(main())
print(json.dumps(saw))
