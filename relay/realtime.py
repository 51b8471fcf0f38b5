"""GET /v1/realtime: decides whether a client gets a session, opens it upstream, and relays it.

authenticate -> origin -> persona -> admission -> upstream -> 101: whoever is connected has a
configured session, and whoever is refused has cost no connection to the upstream.
"""

import asyncio
import secrets
import string
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial

from aiohttp import web

from relay import auth
from relay.accounts import Accounts
from relay.bridge import Bridge
from relay.config import Config, Limits, Persona
from relay.core.close import CloseCode
from relay.core.commands import End
from relay.core.errors import (
    ClientLost,
    InternalError,
    InvalidRequest,
    OriginNotAllowed,
    RelayDraining,
    RelayError,
)
from relay.core.events import Event, encode
from relay.core.limits import Admission
from relay.core.policy import Policy
from relay.core.reports import Report
from relay.core.session import Session, Terms
from relay.log import Logger
from relay.metrics import Metrics
from relay.peer import ClientSocket, Patience, Peer
from relay.record import Record
from relay.upstream import Dialler, OpenedUpstream

SUBPROTOCOL = "realtime"
EVENTS_SUBPROTOCOL = "relay.events"
"""Offered besides ``realtime`` by a client that wants the relay's own events too."""

SUBPROTOCOLS = (SUBPROTOCOL, EVENTS_SUBPROTOCOL)
"""What the relay may answer, the first that is offered."""

HANDSHAKE_HEADERS = ("Upgrade", "Sec-WebSocket-Version", "Sec-WebSocket-Key")
BETA_HEADER, BETA_SUBPROTOCOL = "OpenAI-Beta", "openai-beta.realtime-v1"

_ID_CHARS = string.ascii_letters + string.digits
_MIN_QUOTED_CHARS = 24
"""Shorter pieces of a prompt stand in any sentence."""


class Realtime:
    """The WebSocket endpoint, and the sessions that run on it.

    Attributes:
        draining: no new sessions; those that run go on.
    """

    def __init__(
        self,
        config: Config,
        *,
        dialler: Dialler,
        accounts: Accounts,
        metrics: Metrics,
        log: Logger,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Serve this configuration; sessions run in ``tasks``, since they outlive a request."""
        self.draining = False
        self._stopped = False
        self._config = config
        self._dialler = dialler
        self._accounts = accounts
        self._metrics = metrics
        self._log = log
        self._tasks = tasks
        self._admission = Admission()
        self._empty = asyncio.Event()
        self._empty.set()
        self._dials: set[asyncio.Timeout] = set()
        self._bridges: dict[str, Bridge] = {}

    def use(self, config: Config, dialler: Dialler) -> None:
        """Use another configuration for new sessions; those that run keep theirs."""
        self._config, self._dialler = config, dialler
        self._metrics.expect_personas(config.personas)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a client: with a session, or with why there is none.

        It is cancelled when the client leaves; then the dial is cancelled too.
        """
        try:
            return await self._serve(request)
        except RelayError as error:
            return await self._refuse(request, error)
        except Exception:  # noqa: BLE001  # whatever it is: it is logged, and the client told
            self._log.exception("session.failed")
            return await self._refuse(request, InternalError())

    async def _refuse(self, request: web.Request, error: RelayError) -> web.StreamResponse:
        self._metrics.refused(error.code)
        self._log.warning("session.refused", code=error.code, detail=error.detail)
        return await refuse(request, error, self._config.limits)

    async def drain(self, seconds: float) -> None:
        """Take no new sessions, let those that run go on for a while, then end them."""
        self.draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        self.stop()
        await self._empty.wait()

    def stop(self) -> None:
        """End all sessions now, those that are being opened included."""
        self.draining = self._stopped = True
        while self._dials:
            self._dials.pop().reschedule(0)
        for bridge in self._bridges.values():
            _stop(bridge)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        config = self._config
        auth.check_origin(request, config)
        _check_handshake(request)
        principal = auth.authenticate(request.headers, request.query, config)
        persona = auth.choose_persona(principal, request.query, config)
        with ExitStack() as place:
            announces = EVENTS_SUBPROTOCOL in auth.subprotocols(request.headers)
            call = _Call(principal.client, persona, config, announces=announces)
            self._admit(principal, call, config, place)
            upstream = await self._dial(call)
            try:
                session = call.session(upstream)
                socket, client = await _accept(request, config.limits)
            except BaseException:
                await upstream.peer.leave(CloseCode.NORMAL_CLOSURE, "client closed")
                raise
            relayed = self._relay(call, session, client, upstream, place.pop_all())
            await asyncio.shield(self._tasks.create_task(relayed))
        return socket

    async def _dial(self, call: "_Call") -> OpenedUpstream:
        """Open the upstream, unless the relay stops meanwhile."""
        dial = asyncio.timeout(None)
        self._dials.add(dial)
        try:
            async with dial:
                return await self._dialler.open(call.persona, call.relay_ids)
        except TimeoutError:
            raise RelayDraining from None
        finally:
            self._dials.discard(dial)

    def _admit(
        self, principal: auth.Principal, call: "_Call", config: Config, place: ExitStack
    ) -> None:
        """Take a place for a session, and give it back when ``place`` is closed."""
        if self.draining:
            raise RelayDraining
        self._admission.admit(
            principal.client,
            max_sessions=config.limits.max_sessions,
            max_of_client=principal.max_sessions,
        )
        self._empty.clear()
        place.callback(self._leave, principal.client)
        self._accounts.admit(call.session_id, call.client, call.persona, config)
        place.callback(self._accounts.release, call.session_id)

    def _leave(self, client: str) -> None:
        self._admission.release(client)
        if not self._admission.open:
            self._empty.set()

    async def _relay(
        self,
        call: "_Call",
        session: Session,
        client: Peer,
        upstream: OpenedUpstream,
        place: ExitStack,
    ) -> None:
        """Relay a session whose upstream is ready and whose client is in."""
        now = asyncio.get_running_loop().time
        log = self._log.bind(session_id=call.session_id)
        bridge = Bridge(
            session,
            client=client,
            upstream=upstream.peer,
            observe_first_audio=self._metrics.first_audio.observe,
            keep=partial(self._keep, call.session_id),
            log=log,
        )
        record = Record(
            session_id=call.session_id,
            upstream_session_id=str(upstream.session.get("id")),
            persona=call.persona.name,
            client=call.client,
            model=call.persona.model,
            upstream=upstream.name,
            started_at=now(),
            bridge=bridge,
        )
        end = End.because(InternalError())
        self._bridges[call.session_id] = bridge
        self._metrics.started(record)
        self._metrics.upstream_ready.observe(upstream.ready_seconds)
        try:
            if self._stopped:
                _stop(bridge)
            await self._accounts.started(record.beginning(datetime.now(UTC)))
            end = await bridge.run()
        except Exception:  # one session's defect is no other's affair
            log.exception("session.failed")
        finally:
            duration_seconds = now() - record.started_at
            await self._accounts.ended(record.ending(end, duration_seconds, datetime.now(UTC)))
            del self._bridges[call.session_id]
            place.close()
            self._metrics.ended(record, end, duration_seconds)
            self._log.info("session.ended", **record.line(end, duration_seconds))

    async def _keep(self, session_id: str, report: Report) -> None:
        """Write down what a session used; end all that are past a line of their budget now."""
        for past in await self._accounts.used(session_id, report):
            if past in self._bridges:
                self._bridges[past].overdraw()


def _stop(bridge: Bridge) -> None:
    bridge.stop(RelayDraining(), upstream_code=CloseCode.SERVICE_RESTART)


class _Call:
    """A client with a persona, on the way to a session."""

    def __init__(self, client: str, persona: Persona, config: Config, *, announces: bool) -> None:
        self.client, self.persona, self._announces = client, persona, announces
        self.session_id = "sess_" + "".join(secrets.choice(_ID_CHARS) for _ in range(21))
        self.relay_ids = f"relay_{secrets.token_hex(16)}_"
        self._max_blocked_events = config.limits.max_blocked_events
        self._prices = config.prices

    def session(self, upstream: OpenedUpstream) -> Session:
        """Start a session on an upstream that has confirmed the persona."""
        return Session(self._terms(), upstream.session, now=asyncio.get_running_loop().time())

    def _terms(self) -> Terms:
        persona = self.persona
        return Terms(
            session_id=self.session_id,
            policy=Policy(
                events=frozenset(persona.client.events),
                session=_paths(persona.client.session),
                response=_paths(persona.client.response),
            ),
            max_session_seconds=persona.limits.max_session_seconds,
            idle_seconds=persona.limits.idle_seconds,
            max_blocked_events=self._max_blocked_events,
            expires_at=int(time.time() + persona.limits.max_session_seconds),
            relay_ids=self.relay_ids,
            model=persona.model,
            prices=self._prices,
            started_at=datetime.now(UTC),
            persona_words=_long_lines(persona.session.get("instructions")),
            announces=self._announces,
            greeting=_greeting(persona),
        )


def _paths(dotted: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(path.split(".")) for path in dotted)


def _greeting(persona: Persona) -> Event | None:
    """Return the rest of the response.create that lets a persona speak first."""
    if not persona.greeting:
        return None
    # With tools about, a model may call one before it has said a word.
    return {"response": {"tool_choice": "none"}} if persona.session.get("tools") else {}


def _long_lines(instructions: object) -> tuple[str, ...]:
    lines = (line.strip() for line in str(instructions or "").splitlines())
    return tuple(line for line in lines if len(line) >= _MIN_QUOTED_CHARS)


def _check_handshake(request: web.Request) -> None:
    """Let only a WebSocket handshake of the current API pass.

    Raises:
        InvalidRequest: it is something else.
    """
    if not _socket().can_prepare(_without_credentials(request)):
        raise InvalidRequest("This address speaks WebSocket (RFC 6455), and nothing else.")
    if BETA_HEADER in request.headers or BETA_SUBPROTOCOL in auth.subprotocols(request.headers):
        raise InvalidRequest(
            "Clients of the beta interface are not supported yet: "
            "leave out 'OpenAI-Beta', and use client.realtime instead of client.beta.realtime."
        )


def _without_credentials(request: web.Request) -> web.Request:
    """Return the handshake as aiohttp may see it: it logs subprotocols, and one may be a key."""
    offered = auth.subprotocols(request.headers)
    headers = [(name, request.headers.get(name, "")) for name in HANDSHAKE_HEADERS]
    headers += [("Sec-WebSocket-Protocol", name) for name in SUBPROTOCOLS if name in offered][:1]
    # It reads the key with a decoder that fails on anything but ASCII.
    return request.clone(headers=[(name, _ascii(value)) for name, value in headers])


def _ascii(value: str) -> str:
    return value.encode("ascii", "replace").decode()


def _socket(max_message_bytes: int = 0) -> ClientSocket:
    return ClientSocket(
        protocols=SUBPROTOCOLS,
        autoclose=False,
        autoping=False,
        compress=False,
        max_msg_size=max_message_bytes + 1,  # aiohttp takes what is shorter
        writer_limit=0,
        decode_text=False,
    )


async def _accept(request: web.Request, limits: Limits) -> tuple[ClientSocket, Peer]:
    """Answer the handshake with 101.

    Raises:
        ClientLost: the client is gone.
    """
    socket = _socket(limits.max_message_bytes)
    try:
        await socket.prepare(_without_credentials(request))
    except ConnectionError:
        raise ClientLost from None
    patience = Patience(limits.slow_client_seconds, limits.max_buffered_bytes)
    return socket, Peer(socket, patience)


async def refuse(request: web.Request, error: RelayError, limits: Limits) -> web.StreamResponse:
    """Tell a client why it gets no session.

    Browsers cannot read a refused handshake, so whoever offers the subprotocol ``realtime`` gets
    101, the error as an event, and the close code; a page of a foreign origin never does.
    """
    offers = SUBPROTOCOL in auth.subprotocols(request.headers)
    in_band = offers and not isinstance(error, OriginNotAllowed)
    if not in_band or not _socket().can_prepare(_without_credentials(request)):
        return refusal(error)
    try:
        socket, client = await _accept(request, limits)
    except ClientLost:
        return refusal(error)
    event = {"type": "error", "event_id": "relay_1", "error": error.body() | {"event_id": None}}
    await client.leave(error.close_code, str(error), encode(event))
    return socket


def refusal(error: RelayError) -> web.Response:
    """Return an error as an HTTP response in OpenAI's shape."""
    wait = error.retry_after_seconds
    headers = {} if wait is None else {"Retry-After": str(wait)}
    return web.json_response({"error": error.body()}, status=error.status, headers=headers)
