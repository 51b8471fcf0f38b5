"""The responses of one session: which are running, and which wait for transcripts."""

from collections.abc import Iterable

from relay.simulator.commands import (
    CommandQueue,
    SendEvent,
    StartResponse,
    StopResponse,
    TranscribeItem,
)
from relay.simulator.conversation import Item, SimulatedConversation
from relay.simulator.errors import RequestRefused
from relay.simulator.json_text import Json
from relay.simulator.request import prompt_of, settings_of, without_nulls
from relay.simulator.response import Response, Status
from relay.simulator.server_events import rate_limits_after
from relay.simulator.turns import InputAudio
from relay.simulator.usage import PromptCache, segments

# The API was observed to send it about 43 ms after response.done.
_RATE_LIMITS_AFTER_SECONDS = 0.043


class Responses:
    """Creates and ends the responses; each method adds its commands to the queue.

    Args:
        commands: The queue of the session.
        conversation: The items of the session.
        input_audio: Its idle timer starts at the end of a response.
    """

    def __init__(
        self,
        commands: CommandQueue,
        conversation: SimulatedConversation,
        input_audio: InputAudio,
    ) -> None:
        self._commands = commands
        self._conversation = conversation
        self._input_audio = input_audio
        self._cache = PromptCache()
        self._active: Response | None = None  # the one that adds items to the conversation
        self._running: list[Response] = []
        self._waiting: list[Response] = []  # for the transcripts of their input
        self._has_message = False
        self._has_ended_with_audio = False

    @property
    def are_running(self) -> bool:
        """Whether at least one response is running."""
        return bool(self._running)

    @property
    def have_audio(self) -> bool:
        """Whether the session has assistant audio."""
        return self._has_ended_with_audio or any(r.audio_bytes for r in self._running)

    def create(self, requested: Json, config: Json) -> None:
        """Create a response.

        Args:
            requested: The ``response`` of ``response.create``.
            config: The configuration of the session.

        Raises:
            RequestRefused: The conversation has an active response, or the request is wrong.
        """
        requested = without_nulls(requested)
        is_out_of_band = requested.get("conversation") == "none"
        if self._active and not is_out_of_band:
            raise RequestRefused(
                "conversation_already_has_active_response", response_id=self._active.id
            )
        settings = settings_of(requested, config, is_voice_fixed=self._has_ended_with_audio)
        prompt = prompt_of(requested, config, self._conversation, is_first=not self._has_message)
        input_details = self._cache.read(segments(prompt.instructions, prompt.tools, prompt.items))
        conversation = None if is_out_of_band else self._conversation
        self._begin(Response(settings, prompt, conversation, input_details))

    def _begin(self, response: Response) -> None:
        self._running.append(response)
        if response.conversation:
            self._active = response
        self._commands.send_all(response.created())
        parts = _untranscribed_parts(response.prompt.items)
        if not parts:
            self._commands.add(StartResponse(response))
            return
        self._waiting.append(response)
        self._commands.add(
            *(
                TranscribeItem(item, index)
                for item, index in parts
                if item.id not in self._conversation
            )
        )

    def start_transcribed(self) -> None:
        """Start the waiting responses whose whole input is transcribed."""
        ready = [r for r in self._waiting if not _untranscribed_parts(r.prompt.items)]
        self._waiting = [r for r in self._waiting if r not in ready]
        self._commands.add(*map(StartResponse, ready))

    def interrupt(self) -> None:
        """Cancel the active response, if there is one, because the user speaks."""
        if self._active:
            self._cancel(self._active, "turn_detected")

    def cancel(self, response_id: str | None) -> None:
        """Cancel a running response; the active one, if the id is None.

        Raises:
            RequestRefused: There is no such response.
        """
        running = [r for r in self._running if response_id in (r.id, None)]
        chosen = [r for r in running if response_id or r is self._active]
        if not chosen:
            raise RequestRefused("response_cancel_not_active", param="response_id")
        self._cancel(chosen[0], "client_cancelled")

    def _cancel(self, response: Response, reason: str) -> None:
        self._end(response, "cancelled", {"reason": reason})
        self._commands.add(StopResponse(response))

    def fail(self, response_id: str, error: Json) -> None:
        """End a response as failed; does nothing if it is over already."""
        for response in self._running:
            if response.id == response_id:
                self._end(response, "failed", {"error": error})
                self._commands.add(StopResponse(response))
                break

    def finish(self, response: Response, status: Status, details: Json | None) -> None:
        """End a response; does nothing if it is over already."""
        if response in self._running:
            self._end(response, status, details)

    def _end(self, response: Response, status: Status, details: Json | None) -> None:
        self._running.remove(response)
        self._waiting = [r for r in self._waiting if r is not response]
        self._has_message = self._has_message or response.has_message
        self._has_ended_with_audio = self._has_ended_with_audio or response.audio_bytes > 0
        if response is self._active:
            self._active = None
            self._input_audio.start_idle_timer(response.audio_bytes)
        events = response.done(status, details)
        self._commands.send_all(events)
        self._commands.add(SendEvent(rate_limits_after(events[-1]), _RATE_LIMITS_AFTER_SECONDS))


def _untranscribed_parts(items: Iterable[Item]) -> list[tuple[Item, int]]:
    return [(item, index) for item in items for index in item.untranscribed]
