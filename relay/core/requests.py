"""The requests that the upstream has not answered yet: for responses, and commits of audio.

A request is answered when its response begins, a commit when the audio is in the conversation. An
error takes a request back. The relay counts them, because a client that leaves between a request
and its answer has asked for something that the upstream bills.
"""

from typing import Final

from relay.core.events import Event, Json

ALREADY_ACTIVE: Final = "conversation_already_has_active_response"
"""The code of an error: a response is being made, so the upstream makes no other."""

EMPTY_COMMIT: Final = "input_audio_buffer_commit_empty"

_SHARED: Final = object()
"""In place of an id that another event has too."""

MAX_REQUESTS = 100
"""More requests without an answer are not counted: a conversation makes one response at a time."""


class Requests:
    """The requests without an answer, each with the id of its event, if it has one.

    Attributes:
        is_turn_due: a turn of the user has ended, and the upstream makes a response of its own.
    """

    def __init__(self) -> None:
        self.is_turn_due = False
        self._responses: list[Json] = []
        self._commits: list[Json] = []

    def share(self, event_id: Json) -> None:
        """Note the id of a new event: an error with the id of two events takes back neither.

        Otherwise a client could take back a request whose response is being made.
        """
        for requests in (self._responses, self._commits):
            if event_id is not None and event_id in requests:
                requests[requests.index(event_id)] = _SHARED

    def request(self, event_id: Json) -> None:
        """Note a ``response.create``."""
        if len(self._responses) < MAX_REQUESTS:
            self._responses.append(event_id)

    def commit(self, event_id: Json) -> None:
        """Note an ``input_audio_buffer.commit``."""
        if len(self._commits) < MAX_REQUESTS:
            self._commits.append(event_id)

    def began(self) -> None:
        """Note a response that has begun: it answers the turn, and the first of the requests."""
        self.is_turn_due = False
        del self._responses[:1]

    def committed(self) -> None:
        """Note audio that is in the conversation."""
        del self._commits[:1]

    def refused(self, error: Event) -> None:
        """Take back the request that an error answers."""
        event_id, code = error.get("event_id"), error.get("code")
        for requests in (self._responses, self._commits):
            if event_id is not None and event_id in requests:
                requests.remove(event_id)
                return
        if event_id is not None:
            return
        if code == EMPTY_COMMIT:
            self.committed()
        elif code == ALREADY_ACTIVE or str(error.get("param")).startswith("response."):
            self.began()

    @property
    def responses(self) -> int:
        """The number of responses that are awaited."""
        return len(self._responses) + self.is_turn_due

    @property
    def commits(self) -> int:
        """The number of commits that are awaited."""
        return len(self._commits)
