"""GET /v1/realtime: admit a client, open its session at the upstream, and relay it.

origin -> credential -> persona -> admission -> upstream -> 101: a connected client has a configured
session, and a client that is not admitted costs no connection to the upstream.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from aiohttp import web
from structlog.typing import FilteringBoundLogger as Logger

from relay.access import auth
from relay.config.models import Config
from relay.config.persona import with_tools, with_variables
from relay.core.close import CloseCode
from relay.core.errors import InternalError, RelayError
from relay.core.session import Session
from relay.dialects.negotiation import BETA_HEADER, client_dialect
from relay.dialects.translated import Dialect, start
from relay.endpoints.refusals import refuse
from relay.sessions.admission import Admission
from relay.sessions.registry import Registry
from relay.sessions.terms import NewSession, client_patience, terms_of
from relay.tools.toolbox import Toolbox
from relay.upstreams.dialler import Dialler, OpenedUpstream
from relay.wire import handshake
from relay.wire.handshake import EVENTS_SUBPROTOCOL, subprotocols
from relay.wire.peer import Patience, Peer
from relay.wire.waiting_data import WaitingData


@dataclass(frozen=True, slots=True)
class Serving:
    """The configuration for new sessions, with the dialler and the toolboxes made from it."""

    config: Config
    dialler: Dialler
    toolboxes: Mapping[str, Toolbox]


class Realtime:
    """The WebSocket endpoint.

    Attributes:
        serving: used by new sessions; a running session keeps the one that it started with.
        waiting_data: the data that waits for all clients.
    """

    def __init__(
        self,
        serving: Serving,
        *,
        admission: Admission,
        registry: Registry,
        count_refusal: Callable[[str], None],
        log: Logger,
    ) -> None:
        self.serving = serving
        self.waiting_data = WaitingData()
        self._admission = admission
        self._registry = registry
        self._count_refusal = count_refusal
        self._log = log

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a client with a session, or with the reason why it gets none.

        The server cancels this when the client leaves; then the dial is cancelled too.
        """
        try:
            return await self._answer(request)
        except asyncio.CancelledError as left:
            # The task holds the exception, and the handshake's copy of the request holds the task.
            # With a traceback, this cycle would keep the session until the garbage collector runs.
            left.__traceback__ = None
            raise

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._serve(request)
        except RelayError as error:
            return await self._refuse(request, error)
        except Exception:  # noqa: BLE001  # any defect: it is logged, and the client is answered
            self._log.exception("session.failed")
            return await self._refuse(request, InternalError())

    async def _refuse(self, request: web.Request, error: RelayError) -> web.StreamResponse:
        self._count_refusal(error.code)
        self._log.warning("session.refused", code=error.code, detail=error.detail)
        return await refuse(request, error, self.serving.config.limits)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        serving = self.serving
        new = _new_session(request, serving)
        dialect = client_dialect(
            subprotocols(request.headers),
            request.headers.getall(BETA_HEADER, ()),
            announces=new.announces,
        )
        with ExitStack() as until_ended:
            self._registry.enter(until_ended)
            await self._admission.wait_for_turn(new.config.limits)
            await self._admission.admit(new, until_ended)
            with self._admission.handshake(new):
                upstream = await self._registry.dial(
                    partial(serving.dialler.open, new.persona, new.relay_ids, new.principal.user)
                )
                patience = client_patience(new.config.limits, self.waiting_data)
                answer, client, session = await _accept(request, new, upstream, dialect, patience)
            await self._registry.relay(new, session, client, upstream, until_ended)
        return answer  # pragma: no cover  # aiohttp cancels the handler of a lost client


def _new_session(request: web.Request, serving: Serving) -> NewSession:
    """Return the session that a request asks for.

    Raises:
        RelayError: the caller, its page, its request or its persona is refused.
    """
    config = serving.config
    auth.check_origin(request, config)
    handshake.check(request)
    principal = auth.authenticate(request.headers, request.query, config, time.time())
    chosen = auth.choose_persona(principal, request.query, config)
    toolbox = serving.toolboxes[chosen.name]
    return NewSession(
        principal=principal,
        persona=with_tools(with_variables(chosen, principal.variables), toolbox.session_tools),
        config=config,
        toolbox=toolbox,
        announces=EVENTS_SUBPROTOCOL in subprotocols(request.headers),
    )


async def _accept(
    request: web.Request,
    new: NewSession,
    upstream: OpenedUpstream,
    dialect: Dialect,
    patience: Patience,
) -> tuple[web.StreamResponse, Peer, Session]:
    """Start the session, and answer its client with 101; close the upstream if this fails.

    Raises:
        ClientLost: the client has left.
    """
    max_message_bytes = new.config.limits.max_message_bytes
    try:
        session = _session(new, upstream, dialect)
        answer, client = await handshake.accept(
            request, patience, max_message_bytes=max_message_bytes
        )
    except BaseException:
        # No session will run: the client has left (ClientLost or CancelledError), or there is a
        # defect. An open upstream bills, so it is closed now.
        await upstream.peer.leave(CloseCode.NORMAL_CLOSURE, "client closed")
        raise
    return answer, client, session


def _session(new: NewSession, upstream: OpenedUpstream, client: Dialect) -> Session:
    """Start a session on an upstream that has confirmed the persona."""
    return start(
        terms_of(new, new.config.upstreams[upstream.name]),
        upstream.session,
        now=asyncio.get_running_loop().time(),
        client=client,
        upstream=upstream.dialect,
    )
