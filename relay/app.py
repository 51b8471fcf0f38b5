"""Wires a relay together: the configuration, the rooms and the routes of one application."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime

from aiohttp import web
from structlog.typing import FilteringBoundLogger as Logger

from relay.access import auth
from relay.config.loading import InvalidConfig
from relay.config.models import Config, check_listen
from relay.config.toolboxes import make_toolboxes
from relay.core.errors import InvalidRequest, RelayError
from relay.endpoints import cors, credentials, pages, personas
from relay.endpoints.readiness import Readiness
from relay.endpoints.realtime import Realtime, Serving
from relay.endpoints.refusals import refusal
from relay.ledger.accounts import Accounts
from relay.sessions.admission import Admission
from relay.sessions.registry import Registry
from relay.state.local import LocalState
from relay.telemetry.metrics import CONTENT_TYPE, Metrics
from relay.telemetry.observer import SessionObserver
from relay.tools.runtime import open_runtime
from relay.tools.toolbox import Toolbox
from relay.upstreams.connections import connections
from relay.upstreams.dialler import Dialler, DialResources
from relay.upstreams.entra import identity
from relay.upstreams.warm import WarmPools
from relay.wire import tls
from relay.wire.file_limit import needed_files, raise_file_limit
from relay.wire.loop_lag import LoopLag
from relay.wire.off_loop import off_loop


class Relay:
    """The parts that the routes share, and the reload of the configuration.

    Attributes:
        tls: the certificate for clients; None if the relay speaks plain HTTP.
    """

    def __init__(self, config: Config, log: Logger, ready: Callable[[], bool]) -> None:
        self.config = config
        self.host = config.server.host
        self.metrics = Metrics(config.personas)
        self.tls = self._tls()
        self._log = log
        self._has_started = ready
        self._reloading = asyncio.Lock()

    async def run(self, _app: web.Application) -> AsyncIterator[None]:
        """Keep the connections and the sessions open while the application runs."""
        accounts = await Accounts.open(self.config, LocalState(), self._log)
        self.metrics.ledger = accounts.ledger
        try:
            async with (
                open_runtime(self.metrics.observe_tool, self._log) as self._tool_runtime,
                connections() as http,
                identity() as entra,
            ):
                loop_lag = LoopLag()
                self.metrics.loop_lag_seconds = loop_lag.worst_seconds
                # Outside the group, which would wrap the error of a tool.
                toolboxes = await make_toolboxes(self._tool_runtime, self.config)
                resources = DialResources(http, entra, self.metrics.attempted, self._log)
                admission = Admission(accounts, loop_lag)
                async with asyncio.TaskGroup() as tasks:
                    self.metrics.warm = self._warm = WarmPools(http, tasks)
                    self.sessions = Registry(
                        accounts, SessionObserver(self.metrics, self._log), self._log, tasks
                    )
                    self.realtime = Realtime(
                        self._make_serving(self.config, Dialler(resources, self.config), toolboxes),
                        admission=admission,
                        registry=self.sessions,
                        count_refusal=self.metrics.refused,
                        log=self._log,
                    )
                    self._readiness = Readiness(self.sessions, admission, self._has_started)
                    with loop_lag.measuring():
                        yield
                    await self.drain(0)
        finally:
            await accounts.ledger.close()

    def _make_serving(
        self, config: Config, dialler: Dialler, toolboxes: Mapping[str, Toolbox]
    ) -> Serving:
        """Return the parts that new sessions use, and expose their state in the metrics."""
        self._warm.keep(dialler.warm_targets())
        self.metrics.circuits = dialler.circuits
        self.metrics.expect_personas(config.personas)
        return Serving(config, dialler, toolboxes)

    async def drain(self, seconds: float) -> None:
        """Take no new sessions, let running sessions go on for ``seconds``, then end them."""
        self._warm.stop()
        await self.sessions.drain(seconds)

    async def readiness(self) -> web.Response:
        """Answer whether the relay takes new sessions."""
        return await self._readiness.respond(self.config)

    def unpriced(self) -> tuple[str, ...]:
        """Return the models of the personas for which there is no price today."""
        models = {model for persona in self.config.personas.values() for model in persona.models}
        return self.config.prices.unpriced(models, datetime.now(UTC).date())

    async def reload(self, load: Callable[[], Config]) -> None:
        """Read the configuration with ``load``, and use it for new sessions.

        An invalid configuration changes nothing. A configuration without clients changes nothing
        either if other machines can connect.
        """
        async with self._reloading:  # a reload that waits for its tools must not undo a later one
            try:
                config = await off_loop(lambda: self._checked(load()))
                toolboxes = await make_toolboxes(self._tool_runtime, config)
                make_dialler = self.realtime.serving.dialler.with_config
                dialler = await off_loop(lambda: make_dialler(config))
            except InvalidConfig as invalid:
                self.metrics.reloaded("failed")
                self._log.error("config.refused", problems=[str(p) for p in invalid.problems])
                return
            self.realtime.serving = self._make_serving(config, dialler, toolboxes)
            self.config = config
        self.raise_file_limit()
        self.metrics.reloaded("completed")
        self._log.info("config.reloaded", personas=sorted(config.personas))

    def raise_file_limit(self) -> None:
        """Let the process open as many files as it may; warn if its sessions need more."""
        warm = sum(upstream.warm_connections for upstream in self.config.upstreams.values())
        needed = needed_files(self.config.limits.max_sessions, warm)
        allowed = raise_file_limit(needed)
        if allowed < needed:
            self._log.warning("files.limited", limit=allowed, needed=needed)

    def _tls(self) -> tls.Tls | None:
        server = self.config.server
        if server.tls_cert is None or server.tls_key is None:
            return None
        return tls.Tls(server.tls_cert, server.tls_key, self._certificate_changed)

    def _certificate_changed(self, problem: tls.CertificateUnusable | None) -> None:
        self.metrics.reloaded("failed" if problem else "completed")
        if problem:
            self._log.error("certificate.refused", problem=f"server.{problem.key}: {problem}")
        else:
            self._log.info("certificate.reloaded")
            self.warn_of_expiry()

    def warn_of_expiry(self) -> None:
        """Log a warning if the certificate for clients has expired."""
        if self.tls and self.tls.valid_until <= datetime.now(UTC):
            self._log.warning("certificate.expired", valid_until=self.tls.valid_until.isoformat())

    def _checked(self, config: Config) -> Config:
        problem = check_listen(self.host) if config.anonymous else None
        if problem:
            raise InvalidConfig([config.problem(("clients",), problem)])
        return config


RELAY = web.AppKey("relay", Relay)


def create_app(
    config: Config,
    log: Logger,
    *,
    ready: Callable[[], bool] = lambda: True,
    dropped_lines: Callable[[], int] = int,
) -> web.Application:
    """Return the application; the caller decides where and how it runs.

    ``dropped_lines`` returns the number of log lines that could not be written.
    """
    app = web.Application(middlewares=[_shape_errors])
    app[RELAY] = relay = Relay(config, log, ready)
    relay.metrics.dropped_log_lines = dropped_lines
    app.cleanup_ctx.append(relay.run)
    app.add_routes(
        [
            web.get("/v1/realtime", _realtime),
            web.get("/healthz", _healthz),
            web.get("/readyz", _readyz),
            web.get("/metrics", _metrics),
            web.get("/v1/personas", _personas),
            web.post("/v1/realtime/client_secrets", _client_secrets),
            web.options("/v1/realtime/client_secrets", _preflight),
            web.post("/v1/realtime/sessions", _sessions),
            web.options("/v1/realtime/sessions", _preflight),
            web.post("/v1/realtime/transcription_sessions", _transcription_sessions),
            web.options("/v1/realtime/transcription_sessions", _preflight),
        ]
    )
    if config.server.playground:
        app.add_routes(pages.routes())
    return app


@web.middleware
async def _shape_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer an unknown address or method in the shape of all other errors."""
    try:
        return await handler(request)
    except web.HTTPClientError as error:
        answer = refusal(InvalidRequest(f"There is no {request.method} {request.path}."))
        answer.set_status(error.status)
        answer.headers.update({k: v for k, v in error.headers.items() if k == "Allow"})
        return answer


async def _realtime(request: web.Request) -> web.StreamResponse:
    return await request.app[RELAY].realtime.handle(request)


async def _personas(request: web.Request) -> web.Response:
    try:
        return personas.listing(request, request.app[RELAY].config)
    except RelayError as error:
        return refusal(error)


async def _client_secrets(request: web.Request) -> web.Response:
    config = request.app[RELAY].config
    return await _share(request, credentials.respond(request, config, credentials.client_secret))


async def _sessions(request: web.Request) -> web.Response:
    config = request.app[RELAY].config
    return await _share(request, credentials.respond(request, config, credentials.session))


async def _transcription_sessions(request: web.Request) -> web.Response:
    config = request.app[RELAY].config
    answer = credentials.respond(request, config, credentials.transcription_session)
    return await _share(request, answer)


async def _preflight(request: web.Request) -> web.Response:
    return await _share(request, cors.preflight(request, request.app[RELAY].config))


async def _share(request: web.Request, answer: Awaitable[web.Response]) -> web.Response:
    """Let a page of an allowed origin read the answer, also a refusal."""
    relay = request.app[RELAY]
    try:
        response = await answer
    except RelayError as error:
        relay.metrics.refused(error.code)
        response = refusal(error)
    cors.share(response, request, relay.config.browser)
    return response


async def _healthz(_request: web.Request) -> web.Response:
    return web.json_response({"status": "alive"})


async def _readyz(request: web.Request) -> web.Response:
    return await request.app[RELAY].readiness()


async def _metrics(request: web.Request) -> web.Response:
    relay = request.app[RELAY]
    try:
        auth.check_host(request, relay.config)
    except RelayError as error:
        return refusal(error)
    exposition = relay.metrics.exposition()
    return web.Response(body=exposition, headers={"Content-Type": CONTENT_TYPE})
