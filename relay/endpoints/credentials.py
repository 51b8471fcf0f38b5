"""POST /v1/realtime/client_secrets, and its two older forms: issue short-lived credentials.

A backend with a key of the relay requests one for its browser. The credential is bound to a
persona, and contains the variables that the backend fills in. The shapes are OpenAI's, so that the
stock SDK works. Of the session in the request, the relay reads only ``model`` and ``type``, to
choose a persona as on connecting. The session in the answer is the persona's, without its prompt.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Mapping

from aiohttp import web

from relay.access import auth
from relay.access.claims import Claims, issue
from relay.config.models import Config
from relay.config.persona import TRANSCRIPTION, Persona, session_to_send
from relay.core.errors import CredentialsNotOffered, InvalidRequest, PersonaNotAllowed
from relay.core.events import Event
from relay.core.objects import optional_object
from relay.core.redaction import redact_session
from relay.core.variables import read_variables
from relay.dialects.beta.minting import minted_session, minted_transcription_session
from relay.sessions.terms import closed_fields, opened_fields

MAX_BODY_BYTES = 64 * 1024
BODY_SECONDS = 15
"""How long a caller may take to send the body."""

MAX_CREDENTIAL_CHARS = 6 * 1024
"""A credential is sent in a header, and aiohttp and most proxies accept headers of up to 8 KiB."""

TTL_SECONDS = range(10, 7200 + 1)
"""The lifetimes that a caller may request, as at OpenAI."""

Answer = Callable[[Event, auth.Principal, Config, float], Event]
"""Makes the answer from the body, the caller, the configuration and the time in epoch seconds."""


async def respond(request: web.Request, config: Config, answer: Answer) -> web.Response:
    """Answer a caller that requests a credential.

    Raises:
        RelayError: it gets none.
    """
    auth.check_origin(request, config)
    now = time.time()
    principal = auth.authenticate(request.headers, request.query, config, now)
    return web.json_response(answer(await _read(request), principal, config, now))


def client_secret(body: Event, principal: auth.Principal, config: Config, now: float) -> Event:
    """Return a client secret, for ``client.realtime.client_secrets.create``.

    Raises:
        RelayError: the caller gets none.
    """
    sent = optional_object(body, "session", InvalidRequest)
    asked = body | {"model": sent.get("model"), "intent": _optional_text(sent, "type")}
    persona, secret = _issue(asked, principal, config, now)
    return {**secret, "session": _session(persona, config)}


def session(body: Event, principal: auth.Principal, config: Config, now: float) -> Event:
    """Return a session with a client secret in it, for ``client.beta.realtime.sessions.create``.

    Raises:
        RelayError: the caller gets none.
    """
    asked = body | {
        "expires_after": optional_object(body, "client_secret", InvalidRequest).get("expires_after")
    }
    persona, secret = _issue(asked, principal, config, now)
    defaults = {} if persona.transcribes else {"output_modalities": ["audio"]}
    return minted_session(defaults | _session(persona, config), secret)


def transcription_session(
    body: Event, principal: auth.Principal, config: Config, now: float
) -> Event:
    """Return the same for ``client.beta.realtime.transcription_sessions.create``.

    Raises:
        RelayError: the caller gets none.
    """
    # In this request, the SDK's name for expires_after is expires_at.
    after = optional_object(body, "client_secret", InvalidRequest).get("expires_at")
    asked = body | {"expires_after": after, "intent": TRANSCRIPTION}
    persona, secret = _issue(asked, principal, config, now)
    return minted_transcription_session(_session(persona, config), secret)


def _issue(
    asked: Event, principal: auth.Principal, config: Config, now: float
) -> tuple[Persona, Event]:
    """Return the requested persona, and a credential for it.

    Raises:
        RelayError: the caller gets none.
    """
    if config.secrets is None:
        raise CredentialsNotOffered
    if principal.claims is not None or not (principal.trusted or config.anonymous):
        raise PersonaNotAllowed("This credential cannot issue others: only a trusted client can.")
    choices = {key: _optional_text(asked, key) for key in ("persona", "model", "intent")}
    named = {key: name for key, name in choices.items() if name is not None}
    persona = auth.choose_persona(principal, named, config)
    issued_at = int(now)
    claims = Claims(
        credential_id=secrets.token_hex(8),
        client=principal.client,
        persona=persona.name,
        variables=_variables(asked, principal, persona),
        user=principal.user,
        issued_at=issued_at,
        expires_at=issued_at + _ttl_seconds(asked, config.secrets.ttl_seconds),
    )
    credential = issue(claims, config.secrets.signing_keys)
    if len(credential) > MAX_CREDENTIAL_CHARS:
        raise InvalidRequest("The 'variables' together are too long to be sent in a header.")
    return persona, {"value": credential, "expires_at": claims.expires_at}


def _variables(asked: Event, principal: auth.Principal, persona: Persona) -> Mapping[str, str]:
    variables = asked.get("variables")
    if variables is None:
        return {}
    if not principal.trusted:
        raise PersonaNotAllowed("Only a trusted client fills in variables.")
    return read_variables(variables, persona.variables)


def _ttl_seconds(asked: Event, default_seconds: float) -> int:
    """Return the lifetime of the credential.

    Raises:
        InvalidRequest: the requested lifetime is not in ``TTL_SECONDS``.
    """
    after = optional_object(asked, "expires_after", InvalidRequest)
    if after.get("anchor", "created_at") != "created_at":
        raise InvalidRequest("'expires_after.anchor' is 'created_at'.")
    seconds = after.get("seconds")
    if seconds is None:
        return int(default_seconds)
    if type(seconds) is not int or seconds not in TTL_SECONDS:
        first, last = TTL_SECONDS[0], TTL_SECONDS[-1]
        raise InvalidRequest(f"'expires_after.seconds' is a whole number, {first} to {last}.")
    return seconds


def _session(persona: Persona, config: Config) -> Event:
    """Return the session that a credential will open, without its hidden parts.

    The session does not exist yet, so it does not expire, as in OpenAI's answer. Its model is the
    name of the persona, with which a client connects, because the persona decides on the model. A
    session that only transcribes has no model.
    """
    session_id = f"sess_{secrets.token_hex(12)}"
    shown = redact_session(
        session_to_send(persona.session),
        session_id=session_id,
        expires_at=0,
        opened=opened_fields(persona),
        closed=closed_fields(*(config.upstreams[name] for name in persona.upstream)),
    )
    if persona.transcribes:
        return shown | {"object": "realtime.transcription_session"}
    return shown | {"object": "realtime.session", "model": persona.name}


async def _read(request: web.Request) -> Event:
    """Return the body of a request: one JSON object; an empty body is an empty object.

    Raises:
        InvalidRequest: it is too large or too late, or no JSON object.
    """
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.content.iter_any():
                raw += chunk
                if len(raw) > MAX_BODY_BYTES:
                    raise InvalidRequest(f"The body has more than {MAX_BODY_BYTES} bytes.")
    except TimeoutError:
        raise InvalidRequest("The body did not arrive in time.") from None
    try:
        body = json.loads(raw or b"{}")
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not JSON.") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The body is a JSON object.")
    return body


def _optional_text(body: Event, name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"'{name}' is text.")
    return value
