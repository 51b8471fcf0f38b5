"""Admission of a new session: its places, its start in the minute, its budgets, its credential."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal

from relay.config.limits import Limits
from relay.config.models import Config
from relay.core.budgets import Allowance, Payer, payer_of_user
from relay.core.errors import RelayFull
from relay.core.places import Kind, Place
from relay.core.pricing import micros
from relay.core.quotas import Entry
from relay.core.single_use import Credential
from relay.ledger.accounts import Accounts
from relay.sessions.terms import NewSession
from relay.wire.loop_lag import LoopLag

TURN_SAMPLES = 10
"""The longest wait of one session while the event loop is late: about a second."""

TURN_SECONDS = 5
"""The longest wait of a session behind others. SDKs give up after 10 s."""

MAX_HANDSHAKES = 1000
"""At most this many handshakes run at once: each holds a client, a dial and a TLS handshake for
seconds."""


class Admission:
    """Decides whether a session may start, and keeps its places until it has ended."""

    def __init__(self, accounts: Accounts, loop_lag: LoopLag) -> None:
        self._accounts = accounts
        self._loop_lag = loop_lag
        self._turn = asyncio.Lock()
        self._handshakes = 0

    async def obstacle(self, config: Config) -> str | None:
        """Return why no session can start: ``full``, ``ledger_failing``, ``lagging``, or None."""
        if await self._accounts.state.sessions() >= config.limits.max_sessions:
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

    async def admit(self, new: NewSession, until_ended: ExitStack) -> None:
        """Take the places of a session and let it draw on its budgets, until the stack is closed.

        Raises:
            RelayError: a limit or a budget is reached, or the credential was used.
        """
        self._accounts.check(new.config)
        until_ended.callback(self._accounts.state.release, new.session_id)
        await self._accounts.state.admit(_entry(new))

    @contextmanager
    def handshake(self, new: NewSession) -> Iterator[None]:
        """Count a handshake; use up a single-use credential only if the session starts.

        Raises:
            RelayFull: too many handshakes run at once.
        """
        if self._handshakes == MAX_HANDSHAKES:
            raise RelayFull
        self._handshakes += 1
        try:
            yield
        finally:
            self._handshakes -= 1
        self._accounts.state.started(new.session_id)


def _entry(new: NewSession) -> Entry:
    """Return the limits of a session."""
    secrets, claims = new.config.secrets, new.principal.claims
    once = claims if secrets and secrets.single_use else None
    return Entry(
        session_id=new.session_id,
        places=_places(new),
        client=new.principal.client,
        starts_per_minute=new.principal.limits.sessions_per_minute,
        allowance=_allowance(new),
        credential=Credential(once.credential_id, once.expires_at) if once else None,
    )


def _places(new: NewSession) -> tuple[Place, ...]:
    """Return the places that a session takes."""
    limits, principal, persona = new.config.limits, new.principal, new.persona
    client, user = principal.client, principal.user
    places = (
        Place(Kind.RELAY, "", limits.max_sessions),
        Place(Kind.CLIENT, client, principal.limits.max_sessions),
        Place(Kind.PERSONA, persona.name, persona.limits.max_sessions),
    )
    if not user:
        return places
    # Two clients may give their users the same name.
    return (*places, Place(Kind.USER, f"{client}/{user}", limits.user.max_sessions))


def _allowance(new: NewSession) -> Allowance:
    """Return the budgets of a session."""
    name, user, persona = new.principal.client, new.principal.user, new.persona
    limits = new.principal.limits
    payers: dict[Payer, Decimal | None] = {
        ("client", name): limits.usd_per_day,
        ("persona", persona.name): persona.limits.usd_per_day,
    }
    if user:
        payers[payer_of_user(name, user)] = new.config.limits.user.usd_per_day
    of_session = [limits.usd_per_session, persona.limits.usd_per_session]
    session_limits = [micros(limit) for limit in of_session if limit is not None]
    return Allowance(
        payers=tuple(payers),
        micros_per_session=min(session_limits, default=None),
        micros_per_day={payer: micros(usd) for payer, usd in payers.items() if usd is not None},
    )
