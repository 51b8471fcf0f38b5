"""A relay that only forwards: the relay's server and transports, without its decisions.

``python bench/bare.py CONFIG`` takes a configuration of the relay. The difference to the relay is
the cost of policy, metering, the ledger and the metrics. It dials and opens a session as the relay
does.
"""

import asyncio
import gc
import sys
from pathlib import Path

from aiohttp import web

from relay.config.loading import load
from relay.config.models import Config
from relay.core.close import CloseCode
from relay.core.events import encode
from relay.serving import create_runner
from relay.sessions.terms import client_patience
from relay.telemetry import log
from relay.upstreams.connections import connections
from relay.upstreams.dialler import Dialler, DialResources
from relay.upstreams.entra import Entra
from relay.wire import handshake
from relay.wire.loop import Loop
from relay.wire.peer import Peer


class BareRelay:
    """Forwards the messages of both sides until one side closes."""

    def __init__(self, config: Config, dialler: Dialler) -> None:
        self._config = config
        self._dialler = dialler
        self._persona = config.personas[str(config.default_persona)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Relay one session."""
        upstream = await self._dialler.open(self._persona, "bare_")
        limits = self._config.limits
        answer, client = await handshake.accept(
            request, client_patience(limits), max_message_bytes=limits.max_message_bytes
        )
        await client.send(encode({"type": "session.created", "session": upstream.session}))
        await _relay(client, upstream.peer)
        return answer


async def _relay(client: Peer, upstream: Peer) -> None:
    ended = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_forward(client, upstream, ended))
        tasks.create_task(_forward(upstream, client, ended))
        await ended.wait()
        tasks.create_task(upstream.close(CloseCode.NORMAL_CLOSURE, ""))
        tasks.create_task(client.close(CloseCode.NORMAL_CLOSURE, ""))


async def _forward(source: Peer, sink: Peer, ended: asyncio.Event) -> None:
    await source.listen(lambda message: None if sink.send_at_once(message) else sink.send(message))
    ended.set()


async def _serve(config: Config) -> None:
    async with connections() as http:
        resources = DialResources(
            http, Entra(), lambda _upstream, _outcome: None, log.create(sys.stderr)
        )
        app = web.Application()
        app.add_routes(
            [web.get("/v1/realtime", BareRelay(config, Dialler(resources, config)).handle)]
        )
        runner = create_runner(app)
        await runner.setup()
        await web.TCPSite(runner, config.server.host, config.server.port).start()
        gc.freeze()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(_serve(load(Path(sys.argv[1]), {})))
