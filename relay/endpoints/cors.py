"""Lets pages of the allowed origins read the answers of a route (CORS, in the Fetch standard).

A page of the relay's own origin needs no permission, and neither does a client that is no browser.
"""

from aiohttp import web

from relay.access import auth
from relay.config.models import Config
from relay.config.server import Browser

ALLOWED = {
    "Access-Control-Allow-Methods": "POST",
    # "*" stands for all headers except this one; SDKs add a dozen headers of their own.
    "Access-Control-Allow-Headers": "authorization, *",
}


async def preflight(request: web.Request, config: Config) -> web.Response:
    """Answer the preflight request that a browser sends before the POST of a page.

    Raises:
        OriginNotAllowed: the page is of another origin.
    """
    auth.check_origin(request, config)
    return web.Response(status=204, headers=ALLOWED)


def share(response: web.Response, request: web.Request, browser: Browser) -> None:
    """Let the page read the response, if it is of an allowed origin."""
    response.headers["Vary"] = "Origin"
    origin = request.headers.get("Origin")
    if origin is not None and origin in browser.allowed_origins:
        response.headers["Access-Control-Allow-Origin"] = origin
