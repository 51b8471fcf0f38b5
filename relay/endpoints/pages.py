"""GET / and /playground/: the files of the playground, a closed list that is read at the start."""

import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from aiohttp import web

FOLDER = Path(__file__).parent.parent / "playground"
INDEX = "index.html"

_CONTENT_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}

_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'"
)

_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")
"""A host of the header that adds no directive to the policy."""

Handler = Callable[[web.Request], Awaitable[web.Response]]


def routes() -> list[web.RouteDef]:
    """Return the page at ``/`` and its assets under ``/playground/``."""
    files = sorted(path for path in FOLDER.iterdir() if path.suffix in _CONTENT_TYPES)
    return [web.get(_address(path), _handler(path)) for path in files]


def _address(path: Path) -> str:
    return "/" if path.name == INDEX else f"/playground/{path.name}"


def _handler(path: Path) -> Handler:
    body, content_type = path.read_bytes(), _CONTENT_TYPES[path.suffix]

    async def handle(request: web.Request) -> web.Response:
        return web.Response(
            body=body,
            content_type=content_type,
            charset="utf-8",
            headers=dict(_headers(request)),
        )

    return handle


def _headers(request: web.Request) -> Iterator[tuple[str, str]]:
    """Yield the headers that restrict the page to its own files, relay and frame."""
    # In some browsers 'self' does not include the same host over ws, so the host is named here.
    host = request.host
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    yield "Content-Security-Policy", f"{_POLICY}; connect-src 'self'{sockets}"
    yield "Cache-Control", "no-cache"
    yield "Permissions-Policy", "microphone=(self)"
    yield "Referrer-Policy", "no-referrer"
    yield "X-Content-Type-Options", "nosniff"
