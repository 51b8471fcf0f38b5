"""Admission of a new session: its places, its start in the minute, its budgets, its credential."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from relay.access.claims import SingleUse
from relay.config.limits import Limits
from relay.config.models import Config
from relay.core.errors import RelayFull, SessionLimitReached
from relay.core.places import Place, Places
from relay.core.rates import Starts
from relay.ledger.accounts import Accounts
from relay.sessions.terms import NewSession
from relay.wire.loop_lag import LoopLag

SESSIONS = "sessions"
PERSONA_FULL = partial(SessionLimitReached, "Too many sessions are open with this persona.")

TURN_SAMPLES = 10
"""The longest wait of one session while the event loop is late: about a second."""

TURN_SECONDS = 5
"""The longest wait of a session behind others. SDKs give up after 10 s."""

HANDSHAKE = Place("handshakes", 1000, RelayFull)
"""At most this many handshakes run at once: each holds a client, a dial and a TLS handshake for
seconds."""


class Admission:
    """Decides whether a session may start, and keeps its places until it has ended."""

    def __init__(self, accounts: Accounts, now: Callable[[], float], loop_lag: LoopLag) -> None:
        """Admit sessions; ``now`` is a monotonic clock in seconds."""
        self._accounts = accounts
        self._now = now
        self._loop_lag = loop_lag
        self._turn = asyncio.Lock()
        self._places = Places()
        self._starts = Starts()
        self._single_use = SingleUse()

    @property
    def sessions(self) -> int:
        """The number of sessions that are open or being opened."""
        return self._places.taken(SESSIONS)

    def obstacle(self, config: Config) -> str | None:
        """Return why no session can start: ``full``, ``ledger_failing``, ``lagging``, or None."""
        if self.sessions >= config.limits.max_sessions:
            return "full"
        if self._accounts.is_refusing(config):
            return "ledger_failing"
        return "lagging" if self._loop_lag.is_above(config.limits.max_lag_ms) else None

    async def wait_for_turn(self, limits: Limits) -> None:
        """While the event loop is half as late as it may be, admit one session after the other.

        Each waits for a better sample, or for ``TURN_SAMPLES``, and at most ``TURN_SECONDS``.
        Otherwise an overload would admit many more sessions until the median is above the limit,
        and they would stay.

        Raises:
            RelayFull: the event loop lags.
        """
        loop_lag, max_lag_ms = self._loop_lag, limits.max_lag_ms
        if max_lag_ms is None:
            return
        if loop_lag.lag.is_late(max_lag_ms / 2):
            with suppress(TimeoutError):
                async with asyncio.timeout(TURN_SECONDS), self._turn:
                    await self._wait_while_late(max_lag_ms)
        if loop_lag.is_above(max_lag_ms):
            raise RelayFull(detail="the event loop lags")

    async def _wait_while_late(self, max_lag_ms: float) -> None:
        for _ in range(TURN_SAMPLES):
            if not self._loop_lag.lag.is_late(max_lag_ms / 2):
                break
            if self._loop_lag.is_above(max_lag_ms):
                break
            await self._loop_lag.next_sample()

    def admit(self, new: NewSession, until_ended: ExitStack) -> None:
        """Take the places of a session and let it draw on its budgets, until the stack is closed.

        Raises:
            RelayError: a limit or a budget is reached.
        """
        places = _places(new)
        self._places.take(places)
        until_ended.callback(self._places.give_back, places)
        if per_minute := new.principal.limits.sessions_per_minute:
            self._starts.start(new.principal.client, per_minute, self._now())
        self._accounts.admit(
            new.session_id, new.principal.client, new.principal.user, new.persona, new.config
        )
        until_ended.callback(self._accounts.release, new.session_id)

    @contextmanager
    def handshake(self, new: NewSession) -> Iterator[None]:
        """Count a handshake; use up a single-use credential only if the session starts.

        Raises:
            RelayFull: too many handshakes run at once.
            InvalidApiKey: the single-use credential was used.
        """
        secrets = new.config.secrets
        once = new.principal.claims if secrets and secrets.single_use else None
        with ExitStack() as under_way:
            self._places.take([HANDSHAKE])
            under_way.callback(self._places.give_back, [HANDSHAKE])
            if once:
                self._single_use.use(once, time.time())
            try:
                yield
            except BaseException:
                if once:
                    self._single_use.give_back(once)
                raise


def _places(new: NewSession) -> list[Place]:
    """Return the places that a session takes."""
    limits, principal, persona = new.config.limits, new.principal, new.persona
    client, user = principal.client, principal.user
    places = [
        Place(SESSIONS, limits.max_sessions, RelayFull),
        Place(("client", client), principal.limits.max_sessions, SessionLimitReached),
        Place(("persona", persona.name), persona.limits.max_sessions, PERSONA_FULL),
    ]
    # Two clients may give their users the same name.
    end_user = Place(("user", client, user), limits.user.max_sessions, SessionLimitReached)
    return [*places, end_user] if user else places
