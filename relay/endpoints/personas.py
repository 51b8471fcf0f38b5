"""GET /v1/personas: the personas that the caller may use, so that a page can list them."""

import time

from aiohttp import web

from relay.access import auth
from relay.config.models import Config


def listing(request: web.Request, config: Config) -> web.Response:
    """Answer with the names and descriptions.

    Raises:
        InvalidRequest, InvalidApiKey, OriginNotAllowed: as for a session.
    """
    principal = auth.authenticate(request.headers, request.query, config, time.time())
    auth.check_host(request, config)
    auth.check_origin(request, config)
    shown = [
        {
            "name": persona.name,
            "description": persona.description,
            "default": persona.name == config.default_persona,
        }
        for persona in sorted(config.personas.values(), key=lambda persona: persona.name)
        if principal.may_use(persona.name)
    ]
    return web.json_response({"object": "list", "data": shown})
