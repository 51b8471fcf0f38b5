"""GET /v1/realtime: decides whether a client gets a session, opens it upstream, and relays it.

authenticate -> origin -> persona -> admission -> upstream -> 101: whoever is connected has a
configured session, and whoever is refused has cost no connection to the upstream.
"""

import asyncio
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial

from aiohttp import web

from relay import auth, handshake
from relay.accounts import Accounts
from relay.bridge import Bridge
from relay.claims import SingleUse
from relay.config import Config, Persona, Upstream, equipped, filled
from relay.core.admission import Admission, Place
from relay.core.close import CloseCode
from relay.core.commands import CallTool, End, Side
from relay.core.dialects import Dialect, start
from relay.core.errors import (
    InternalError,
    RelayDraining,
    RelayError,
    RelayFull,
    SessionLimitReached,
)
from relay.core.events import Event
from relay.core.policy import Policy
from relay.core.rates import Starts
from relay.core.reports import Report
from relay.core.session import Session
from relay.core.terms import Terms
from relay.log import Logger
from relay.metrics import Metrics
from relay.peer import Peer
from relay.record import Record
from relay.tools import Context
from relay.tools.toolbox import Toolbox
from relay.upstream import Dialler, OpenedUpstream, let_go

SESSIONS = "sessions"
PERSONA_FULL = partial(SessionLimitReached, "Too many sessions are open with this persona.")

HANDSHAKE = Place("handshakes", 1000, RelayFull)
"""As many are opened at a time: each holds a client, a dial and a TLS handshake for seconds."""

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
        toolboxes: Mapping[str, Toolbox],
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
        self._toolboxes = toolboxes
        self._accounts = accounts
        self._metrics = metrics
        self._log = log
        self._tasks = tasks
        self._admission = Admission()
        self._starts = Starts()
        self._single_use = SingleUse()
        self._empty = asyncio.Event()
        self._empty.set()
        self._dials: set[asyncio.Timeout] = set()
        self._bridges: dict[str, Bridge] = {}

    def use(self, config: Config, dialler: Dialler, toolboxes: Mapping[str, Toolbox]) -> None:
        """Use another configuration for new sessions; those that run keep theirs."""
        self._config, self._dialler, self._toolboxes = config, dialler, toolboxes
        self._metrics.expect_personas(config.personas)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a client: with a session, or with why there is none.

        It is cancelled when the client leaves; then the dial is cancelled too.
        """
        try:
            return await self._answer(request)
        except asyncio.CancelledError as left:
            # The task keeps it, and the handshake's copy of the request the task: with a traceback
            # the session would be kept too, until the garbage collector runs.
            left.__traceback__ = None
            raise

    async def _answer(self, request: web.Request) -> web.StreamResponse:
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
        return await handshake.refuse(request, error, self._config.limits)

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
        handshake.check(request)
        principal = auth.authenticate(request.headers, request.query, config, time.time())
        chosen = auth.choose_persona(principal, request.query, config)
        toolbox = self._toolboxes[chosen.name]
        persona = equipped(filled(chosen, principal.variables), toolbox.session_tools)
        with ExitStack() as place:
            announces = handshake.EVENTS_SUBPROTOCOL in auth.subprotocols(request.headers)
            call = _Call(principal, persona, config, toolbox, announces=announces)
            dialect = handshake.dialect(request)
            self._admit(principal, call, config, place)
            with self._opening(principal, config):
                upstream = await self._dial(call)
                try:
                    session = call.session(upstream, dialect)
                    answer, client = await handshake.accept(request, config.limits)
                except BaseException:
                    await upstream.peer.leave(CloseCode.NORMAL_CLOSURE, "client closed")
                    raise
            relayed = self._relay(call, session, client, upstream, place.pop_all())
            await asyncio.shield(self._tasks.create_task(relayed))
        return answer

    async def _dial(self, call: "_Call") -> OpenedUpstream:
        """Open the upstream, unless the relay stops meanwhile."""
        dial = asyncio.timeout(None)
        self._dials.add(dial)
        try:
            async with dial:
                return await self._dialler.open(call.persona, call.relay_ids, call.user)
        except TimeoutError as stopped:
            let_go(stopped)
            raise RelayDraining from None
        finally:
            self._dials.discard(dial)

    def _admit(
        self, principal: auth.Principal, call: "_Call", config: Config, place: ExitStack
    ) -> None:
        """Take a place for a session, and give it back when ``place`` is closed."""
        if self.draining:
            raise RelayDraining
        places = _places(principal, call.persona, config)
        self._admission.admit(places)
        self._empty.clear()
        place.callback(self._leave, places)
        if per_minute := principal.limits.sessions_per_minute:
            self._starts.start(principal.client, per_minute, asyncio.get_running_loop().time())
        self._accounts.admit(call.session_id, call.client, call.user, call.persona, config)
        place.callback(self._accounts.release, call.session_id)

    def _leave(self, places: list[Place]) -> None:
        self._admission.release(places)
        if not self._admission.open(SESSIONS):
            self._empty.set()

    @contextmanager
    def _opening(self, principal: auth.Principal, config: Config) -> Iterator[None]:
        """Count a handshake; a credential for one use is used up only if the session starts."""
        once = principal.claims if config.secrets and config.secrets.single_use else None
        with ExitStack() as under_way:
            self._admission.admit([HANDSHAKE])
            under_way.callback(self._admission.release, [HANDSHAKE])
            if once:
                self._single_use.use(once, time.time())
            try:
                yield
            except BaseException:
                if once:
                    self._single_use.give_back(once)
                raise

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
            observe_first_audio=self._metrics.observe_first_audio,
            keep=partial(self._keep, call.session_id),
            run_tool=call.run_tool,
            log=log,
        )
        record = Record(
            session_id=call.session_id,
            upstream_session_id=str(upstream.session.get("id") or ""),
            persona=call.persona.name,
            client=call.client,
            user=call.user,
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
            if await self._accounts.started(record.beginning(datetime.now(UTC))):
                bridge.overdraw()
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


def _places(principal: auth.Principal, persona: Persona, config: Config) -> list[Place]:
    """Return what a session takes a place of."""
    limits, client, user = config.limits, principal.client, principal.user
    mine = principal.limits.max_sessions
    places = [
        Place(SESSIONS, limits.max_sessions, RelayFull),
        Place(("client", client), mine, SessionLimitReached),
        Place(("persona", persona.name), persona.limits.max_sessions, PERSONA_FULL),
    ]
    # Two clients may name their users alike.
    end_user = Place(("user", client, user), limits.user.max_sessions, SessionLimitReached)
    return [*places, end_user] if user else places


def _stop(bridge: Bridge) -> None:
    bridge.stop(RelayDraining(), upstream_code=CloseCode.SERVICE_RESTART)


class _Call:
    """A client with a persona, on the way to a session."""

    def __init__(
        self,
        principal: auth.Principal,
        persona: Persona,
        config: Config,
        toolbox: Toolbox,
        *,
        announces: bool,
    ) -> None:
        self.client, self.user = principal.client, principal.user
        self._toolbox = toolbox
        self.persona, self._announces = persona, announces
        self.session_id = f"sess_{secrets.token_hex(16)[:21]}"  # as long as OpenAI's
        self.relay_ids = f"relay_{secrets.token_hex(16)}_"
        self._limits, self._upstreams = config.limits, config.upstreams
        self._prices = config.prices

    def session(self, upstream: OpenedUpstream, client: Dialect) -> Session:
        """Start a session on an upstream that has confirmed the persona."""
        return start(
            self._terms(self._upstreams[upstream.name]),
            upstream.session,
            now=asyncio.get_running_loop().time(),
            client=client,
            upstream=upstream.dialect,
        )

    async def run_tool(self, call: CallTool) -> str:
        """Run a tool of the persona's for this session."""
        context = Context(
            session_id=self.session_id,
            persona=self.persona.name,
            client=self.client,
            user=self.user,
            call_id=call.call_id,
        )
        return await self._toolbox.call(call, context)

    def _terms(self, upstream: Upstream) -> Terms:
        persona = self.persona
        opened = {*persona.client.session, *persona.client.response}
        return Terms(
            session_id=self.session_id,
            policy=Policy(
                session_type=persona.session_type,
                events=frozenset(persona.client.events),
                session=_paths(persona.client.session),
                response=_paths(persona.client.response),
            ),
            max_session_seconds=persona.limits.max_session_seconds,
            idle_seconds=persona.limits.idle_seconds,
            max_blocked_events=self._limits.max_blocked_events,
            expires_at=int(time.time() + persona.limits.max_session_seconds),
            relay_ids=self.relay_ids,
            model=persona.model,
            transcriber=persona.transcriber,
            prices=self._prices,
            started_at=datetime.now(UTC),
            served=self._toolbox.served,
            # None: the client may bring tools of its own.
            delegated=None if "tools" in opened else self._toolbox.delegated,
            announced=self._toolbox.announced,
            follow_up=self._toolbox.follow_up,
            audio_rate=self._limits.audio_rate,
            audio_burst_seconds=self._limits.audio_burst_seconds,
            events_per_second=self._limits.events_per_second,
            persona_words=_long_lines(persona.session.get("instructions"), *persona.hints),
            announces=self._announces,
            greeting=_greeting(persona),
            binary_audio=_binary_audio(persona, upstream),
        )


def _paths(dotted: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(path.split(".")) for path in dotted)


def _greeting(persona: Persona) -> Event | None:
    """Return the rest of the response.create that lets a persona speak first."""
    if not persona.greeting:
        return None
    # With tools about, a model may call one before it has said a word.
    return {"response": {"tool_choice": "none"}} if persona.session.get("tools") else {}


def _binary_audio(persona: Persona, upstream: Upstream) -> frozenset[Side]:
    """Return whose binary messages are audio: a compatible upstream's, and its client's if asked.

    Many servers read an event in a binary message as they do in a text, and a client's would be one
    that nobody has judged: it takes a persona that has its input sent so, as xAI can.
    """
    if upstream.provider != "compatible":
        return frozenset()
    given = (persona.session.get("audio") or {}).get("input") or {}
    asked = given.get("transport") == "binary"
    return frozenset({Side.UPSTREAM, Side.CLIENT} if asked else {Side.UPSTREAM})


def _long_lines(*texts: object) -> tuple[str, ...]:
    lines = (line.strip() for text in texts for line in str(text or "").splitlines())
    return tuple(line for line in lines if len(line) >= _MIN_QUOTED_CHARS)
