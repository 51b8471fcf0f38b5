"""The aiohttp application: who may connect, and to what; a ``Connection`` does the rest."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aiohttp import web

from relay.simulator.connection import Connection, Means
from relay.simulator.errors import Refused
from relay.simulator.mind import Mind, Reply
from relay.simulator.observation import Connected, Observer, unobserved
from relay.simulator.script import CONNECT, InvalidScript, Script, Trouble
from relay.simulator.senses import Senses
from relay.simulator.session import Session
from relay.simulator.standin import SENSES
from relay.simulator.vocabulary import MODELS

SUBPROTOCOL = "realtime"
KEY_SUBPROTOCOL = "openai-insecure-api-key."
BETA_SUBPROTOCOL = "openai-beta."
BETA_HEADER = "OpenAI-Beta"
# An append may hold 15 MiB of audio, which is 20 MiB of base64, and JSON around it.
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
SESSION_SECONDS = 3600.0
PACE = 3.0
_THREADS = 8
_TRANSCRIPTION = "transcription"


def create_app(
    *,
    api_key: str | None = None,
    replies: Sequence[Reply] = (),
    script: Script | None = None,
    senses: Senses = SENSES,
    observer: Observer = unobserved,
    session_seconds: float = SESSION_SECONDS,
    pace: float = PACE,
) -> web.Application:
    """Return a server of the Realtime API, at ``/v1/realtime``.

    Args:
        api_key: The only key that is taken; without one, every key is, and none.
        replies: Scripted answers; the first that fits is given.
        script: What goes wrong.
        senses: What it hears and speaks with.
        observer: Is told of every message, both ways.
        session_seconds: How long a session may last.
        pace: How many seconds of audio are sent in a second, after the first.
    """
    # More threads than cores: a long sentence must not keep a short one waiting.
    executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="senses")
    means = Means(
        mind=Mind(tuple(replies)),
        senses=senses,
        executor=executor,
        pace=pace,
        session_seconds=session_seconds,
        observer=observer,
    )
    endpoint = _Endpoint(api_key, script or Script(), means, set())

    async def threads(_: web.Application) -> AsyncIterator[None]:
        yield
        executor.shutdown(wait=False, cancel_futures=True)

    # A handler is cancelled when its client is gone, so that nobody waits for a client that left.
    app = web.Application(handler_args={"handler_cancellation": True})
    app.router.add_get("/v1/realtime", endpoint.serve)
    app.on_shutdown.append(endpoint.stop)
    app.cleanup_ctx.append(threads)
    return app


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """Takes the handshakes of one application."""

    api_key: str | None
    script: Script
    means: Means
    connections: set[Connection]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer the handshake and serve the client.

        The API answers 101 first and says then, in band, that a key or a model is no good.
        """
        if "call_id" in request.query:
            return _refusal(404, "call_id_not_found", "No call with this id was found.")
        trouble, refused = self._trouble(request)
        if (refusal := await _meet_trouble_on_connect(trouble, request)) is not None:
            return refusal
        socket = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,),
            compress=False,  # base64 of noise does not get smaller
            autoclose=False,
            autoping=False,
            max_msg_size=MAX_MESSAGE_BYTES,
        )
        await socket.prepare(request)
        session = Session(
            model=None if _transcribes(request) else request.query.get("model", ""),
            expires_at=int(time.time() + self.means.session_seconds),
        )
        self.means.observer(
            Connected(
                session.id,
                request.path_qs,
                {name.lower(): value for name, value in request.headers.items()},
            )
        )
        transport = request.transport
        if transport is not None:  # otherwise the client has left already
            await self._run(
                Connection(socket, transport, session, trouble, self.means),
                refused or self._refused(request),
            )
        return socket

    async def _run(self, connection: Connection, refused: Refused | None) -> None:
        self.connections.add(connection)
        try:
            await connection.run(refused)
        finally:
            self.connections.remove(connection)

    async def stop(self, _: web.Application) -> None:
        """Tell everybody that the server goes away."""
        for connection in self.connections:
            connection.stop(1001, "The server is shutting down.")

    def _trouble(self, request: web.Request) -> tuple[Trouble, Refused | None]:
        if "script" not in request.query:
            return self.script.begin(), None
        try:
            return Script.load(request.query["script"]).begin(), None
        except InvalidScript as error:
            return Script().begin(), Refused("invalid_script", param="script", problem=str(error))

    def _refused(self, request: web.Request) -> Refused | None:
        """Return why the client is not served, in the order in which the API finds out."""
        offered = _subprotocols(request)
        if BETA_HEADER in request.headers or any(p.startswith(BETA_SUBPROTOCOL) for p in offered):
            return Refused("beta_api_shape_disabled")
        if self.api_key is not None and not _is_key(self.api_key, _credential(request, offered)):
            return Refused("invalid_api_key")
        model = request.query.get("model")
        if _transcribes(request):
            problem = "You must not provide a model parameter for transcription sessions."
            return Refused("invalid_parameter", param="model", problem=problem) if model else None
        if not model:
            return Refused("missing_model", param="model")
        return None if model in MODELS else Refused("invalid_model", param="model", model=model)


def _transcribes(request: web.Request) -> bool:
    return request.query.get("intent") == _TRANSCRIPTION


def _subprotocols(request: web.Request) -> list[str]:
    offered = request.headers.getall("Sec-WebSocket-Protocol", [])
    return [name.strip() for line in offered for name in line.split(",")]


def _credential(request: web.Request, offered: list[str]) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    if "api-key" in request.headers:
        return request.headers["api-key"]
    keys = (name for name in offered if name.startswith(KEY_SUBPROTOCOL))
    return next(keys, "").removeprefix(KEY_SUBPROTOCOL)


def _is_key(expected: str, given: str) -> bool:
    return secrets.compare_digest(expected.encode(), given.encode(errors="surrogateescape"))


async def _meet_trouble_on_connect(trouble: Trouble, request: web.Request) -> web.Response | None:
    """Let happen what is to happen before the handshake is answered."""
    for rule in trouble.at(CONNECT):
        match rule.do:
            case "delay":
                await asyncio.sleep(rule.seconds)
            case "stall":
                await asyncio.Event().wait()
            case "refuse":
                error = rule.error
                return _refusal(rule.status, error["code"], error["message"], error["type"])
            case "drop":
                if request.transport is not None:
                    request.transport.abort()
    return None


def _refusal(
    status: int, code: str, message: str, type_: str = "invalid_request_error"
) -> web.Response:
    error = {"message": message, "type": type_, "code": code, "param": None}
    return web.json_response({"error": error}, status=status)
