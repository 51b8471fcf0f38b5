"""Wires the configuration into an aiohttp application: its routes, its start, its stop."""

import asyncio
import gc
import resource
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from relay import cors, credentials, pages, personas, tls
from relay.accounts import Accounts
from relay.config import Config, check_listen
from relay.core.errors import InvalidRequest, RelayDraining, RelayError
from relay.entra import identity
from relay.handshake import refusal
from relay.loading import InvalidConfig
from relay.log import Logger
from relay.metrics import CONTENT_TYPE, Metrics
from relay.peer import CLOSE_SECONDS
from relay.realtime import Realtime
from relay.tools import workshop
from relay.tools.toolbox import Toolbox
from relay.upstream import Dialler, Means, connections

HEAD_SECONDS = 15
"""How long a client may take for the head of its request, and before that for the TLS handshake;
the bounds of aiohttp and asyncio are an hour and a minute."""

FILES_PER_SESSION, OTHER_FILES = 2, 256
"""What is open: two sockets a session; the ledger, tools, scrapes, clients that are turned away."""

BACKLOG = 1024
"""How many connections may wait to be accepted. When a relay comes back, all its clients do at
once, and those beyond aiohttp's own bound, which is 128, try again a second later."""


class Relay:
    """What the routes share: the endpoint, the metrics, and how the configuration is read anew.

    Attributes:
        tls: What clients shake hands with; None where the relay speaks plain HTTP.
    """

    def __init__(self, config: Config, log: Logger, ready: Callable[[], bool]) -> None:
        self.config = config
        self.host = config.server.host
        self.metrics = Metrics(config.personas)
        self.tls = self._tls()
        self._log = log
        self._upstream_is_ready = ready
        self._reloading = asyncio.Lock()

    async def run(self, _app: web.Application) -> AsyncIterator[None]:
        """Keep the connections and the sessions for as long as the application runs."""
        accounts = await Accounts.open(self.config, self._log)
        self.metrics.ledger = accounts.ledger
        try:
            async with (
                workshop.opened(self.metrics.observe_tool, self._log) as self._workshop,
                connections() as http,
                identity() as entra,
            ):
                # Outside the group, which would wrap what is wrong with a tool.
                toolboxes = await equip(self._workshop, self.config)
                means = Means(http, entra, self.metrics.attempted, self._log)
                self._dialler = Dialler(means, self.config)
                self.metrics.circuits = self._dialler.circuits
                async with asyncio.TaskGroup() as tasks:
                    self.realtime = Realtime(
                        self.config,
                        dialler=self._dialler,
                        toolboxes=toolboxes,
                        accounts=accounts,
                        metrics=self.metrics,
                        log=self._log,
                        tasks=tasks,
                    )
                    yield
                    await self.realtime.drain(0)
        finally:
            await accounts.ledger.close()

    @property
    def ready(self) -> bool:
        """Whether new sessions are taken."""
        return not self.realtime.draining and self._upstream_is_ready()

    def unpriced(self) -> tuple[str, ...]:
        """Return the models of the personas for which there is no price today."""
        personas = self.config.personas.values()
        models = {model for persona in personas for model in (persona.model, persona.transcriber)}
        return self.config.prices.unpriced(filter(None, models), datetime.now(UTC).date())

    async def reload(self, load: Callable[[], Config]) -> None:
        """Use the configuration as it is now for new sessions; a broken one changes nothing.

        Nor does one without clients, where others than this machine can connect.
        """
        async with self._reloading:  # else one that waits for its tools would undo a later one
            try:
                config = self._checked(load())
                toolboxes = await equip(self._workshop, config)
            except InvalidConfig as invalid:
                self.metrics.reloaded("failed")
                self._log.error("config.refused", problems=[str(p) for p in invalid.problems])
                return
            self._dialler = self._dialler.renewed(config)
            self.metrics.circuits = self._dialler.circuits
            self.realtime.use(config, self._dialler, toolboxes)
            self.config = config
        _raise_file_limit(config, self._log)
        self.metrics.reloaded("completed")
        self._log.info("config.reloaded", personas=sorted(config.personas))

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
        """Say so if clients are shown a certificate that is too old."""
        if self.tls and self.tls.valid_until <= datetime.now(UTC):
            self._log.warning("certificate.expired", valid_until=self.tls.valid_until.isoformat())

    def _checked(self, config: Config) -> Config:
        problem = check_listen(self.host) if config.anonymous else None
        if problem:
            raise InvalidConfig([config.problem(("clients",), problem)])
        return config


async def equip(shop: workshop.Workshop, config: Config) -> Mapping[str, Toolbox]:
    """Return the toolbox of each persona.

    Raises:
        InvalidConfig: with every tool that cannot be run.
    """
    orders = {
        name: workshop.Order(persona.session, persona.limits.max_tool_seconds)
        for name, persona in config.personas.items()
    }
    key = config.tools.signing_key
    try:
        return await shop.equip(
            orders,
            signing_key=None if key is None else key.get_secret_value(),
            max_running=config.tools.max_running,
        )
    except workshop.ToolsUnusable as unusable:
        raise InvalidConfig(
            [
                config.problem(("personas", persona, *path), said)
                for persona, path, said in unusable.problems
            ]
        ) from None


async def check_tools(config: Config, log: Logger) -> None:
    """Try to get at every tool that the relay is to run.

    Raises:
        InvalidConfig: with every tool that cannot be run.
    """
    async with workshop.opened(Metrics().observe_tool, log) as shop:
        await equip(shop, config)


RELAY = web.AppKey("relay", Relay)


def create_app(
    config: Config, log: Logger, *, ready: Callable[[], bool] = lambda: True
) -> web.Application:
    """Return the application; the caller decides where and how it runs."""
    app = web.Application(middlewares=[_in_our_shape])
    app[RELAY] = relay = Relay(config, log, ready)
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
async def _in_our_shape(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Tell of an address or a method that there is not in the shape of all other errors."""
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
    return await _shared(request, credentials.respond(request, config, credentials.client_secret))


async def _sessions(request: web.Request) -> web.Response:
    config = request.app[RELAY].config
    return await _shared(request, credentials.respond(request, config, credentials.session))


async def _transcription_sessions(request: web.Request) -> web.Response:
    config = request.app[RELAY].config
    answer = credentials.respond(request, config, credentials.transcription_session)
    return await _shared(request, answer)


async def _preflight(request: web.Request) -> web.Response:
    return await _shared(request, cors.preflight(request, request.app[RELAY].config))


async def _shared(request: web.Request, answer: Awaitable[web.Response]) -> web.Response:
    """Answer a page of an allowed origin so that it may read it, refusals included."""
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
    if request.app[RELAY].ready:
        return web.json_response({"status": "ready"})
    return refusal(RelayDraining("The relay takes no new sessions now."))


async def _metrics(request: web.Request) -> web.Response:
    exposition = request.app[RELAY].metrics.exposition()
    return web.Response(body=exposition, headers={"Content-Type": CONTENT_TYPE})


def create_runner(app: web.Application) -> web.AppRunner:
    """Return what runs the application: a client that leaves cancels what is done for it."""
    return web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=HEAD_SECONDS,
        shutdown_timeout=1,
    )


async def listen(
    runner: web.AppRunner, host: str, port: int, secure: tls.Tls | None
) -> asyncio.Server:
    """Let clients connect; closing what is returned ends that, and no connection.

    Raises:
        OSError: the address cannot be listened on.
    """
    assert runner.server is not None, "it is set up"  # noqa: S101
    secured: dict[str, Any] = {}
    if secure is not None:
        secured["ssl"] = secure.context
        secured["ssl_handshake_timeout"] = HEAD_SECONDS
        secured["ssl_shutdown_timeout"] = CLOSE_SECONDS
    loop = asyncio.get_running_loop()
    return await loop.create_server(runner.server, host, port, backlog=BACKLOG, **secured)


async def serve(
    app: web.Application,
    log: Logger,
    *,
    host: str,
    port: int,
    load: Callable[[], Config] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the sessions at once.

    SIGHUP reads the configuration again with ``load``.

    Raises:
        OSError: the address cannot be listened on.
    """
    relay = app[RELAY]
    _raise_file_limit(relay.config, log)
    runner = create_runner(app)
    await runner.setup()
    try:
        with closing(await listen(runner, host, port, relay.tls)) as server:
            # A full collection that looks through all that is loaded would hold audio up for 0.1 s.
            gc.freeze()
            async with asyncio.TaskGroup() as tasks:
                with _signals(relay, load, tasks) as asked_to_stop:
                    _greet(relay, server, log)
                    await asked_to_stop()
                    seconds = relay.config.limits.drain_seconds
                    log.info("drain.started", seconds=seconds)
                    await relay.realtime.drain(seconds)
    finally:
        await runner.cleanup()
    log.info("relay.stopped")


def _greet(relay: Relay, server: asyncio.Server, log: Logger) -> None:
    """Say where the relay listens and what it is for, and what may be wrong with it."""
    log.info(
        "relay.started",
        url=f"{'https' if relay.tls else 'http'}://{_authority(server)}/v1",
        personas=sorted(relay.config.personas),
        upstreams={name: u.url for name, u in relay.config.upstreams.items()},
    )
    if unpriced := relay.unpriced():
        log.warning("price.missing", models=unpriced)
    relay.warn_of_expiry()


def _raise_file_limit(config: Config, log: Logger) -> None:
    """Let the process open as many files as its sessions need; warn if it may not."""
    needed = FILES_PER_SESSION * config.limits.max_sessions + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    may = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < may:
        resource.setrlimit(resource.RLIMIT_NOFILE, (may, hard))
    if may < needed:
        log.warning("files.limited", limit=may, needed=needed)


def _authority(server: asyncio.Server) -> str:
    host, port = server.sockets[0].getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def _signals(
    relay: Relay, load: Callable[[], Config] | None, tasks: asyncio.TaskGroup
) -> Iterator[Callable[[], Awaitable[object]]]:
    """Answer the signals of the process; yields what waits for the first that asks to stop."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def stop() -> None:
        if asked.is_set():
            relay.realtime.stop()
        asked.set()

    reactions: dict[signal.Signals, Callable[[], object]] = {
        signal.SIGTERM: stop,
        signal.SIGINT: stop,
    }
    if load is not None:
        reactions[signal.SIGHUP] = lambda: tasks.create_task(relay.reload(load))
    for number, react in reactions.items():
        loop.add_signal_handler(number, react)
    try:
        yield asked.wait
    finally:
        for number in reactions:
            loop.remove_signal_handler(number)
