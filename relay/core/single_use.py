"""Credentials that start one session only."""

from heapq import heappop, heappush

import msgspec

from relay.core.errors import InvalidApiKey


class Credential(msgspec.Struct, frozen=True):
    """A short-lived credential that may start one session.

    Attributes:
        expires_at: in epoch seconds.
    """

    credential_id: str
    expires_at: int


class SingleUse:
    """Remembers the used credentials until they expire. Time is an argument, in epoch seconds."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._expiries: list[tuple[int, str]] = []

    def use(self, credential: Credential, now: float) -> None:
        """Use up the credential.

        Raises:
            InvalidApiKey: it was used before.
        """
        while self._expiries and self._expiries[0][0] <= now:
            self._used.discard(heappop(self._expiries)[1])
        if credential.credential_id in self._used:
            raise InvalidApiKey("The short-lived credential was used. Request another.")
        self._used.add(credential.credential_id)
        heappush(self._expiries, (credential.expires_at, credential.credential_id))

    def give_back(self, credential: Credential) -> None:
        """Let the credential be used again, because its session did not start."""
        self._used.discard(credential.credential_id)
