"""How many sessions there may be: decided at once, so that no race passes a limit by one."""

from collections import Counter

from relay.core.errors import RelayFull, SessionLimitReached


class Admission:
    """Counts the sessions that are open, handshakes under way included.

    Attributes:
        open: how many there are.
    """

    def __init__(self) -> None:
        self.open = 0
        self._by_client: Counter[str] = Counter()

    def admit(self, client: str, *, max_sessions: int, max_of_client: int | None) -> None:
        """Count one more session of this client.

        Raises:
            RelayFull: there are ``max_sessions`` already.
            SessionLimitReached: the client has ``max_of_client`` already.
        """
        if self.open >= max_sessions:
            raise RelayFull
        if max_of_client is not None and self._by_client[client] >= max_of_client:
            raise SessionLimitReached
        self.open += 1
        self._by_client[client] += 1

    def release(self, client: str) -> None:
        """Count one session of this client less."""
        self.open -= 1
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]
