"""The caller of a request: its credential, its Origin and the persona that it asks for.

All decisions depend on the head of the request only, and come before any connection to an upstream.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web
from multidict import MultiMapping

from relay.access.claims import SHORT_LIVED, Claims, verify
from relay.config.limits import ClientLimits
from relay.config.models import Config
from relay.config.persona import TRANSCRIPTION, Persona
from relay.core.errors import (
    InvalidApiKey,
    InvalidRequest,
    OriginNotAllowed,
    PersonaNotAllowed,
    PersonaNotFound,
)
from relay.wire.handshake import subprotocols

KEY_PROTOCOL = "openai-insecure-api-key."
"""The start of a subprotocol that carries the credential, because browsers cannot set headers."""

END_USER_HEADER = "OpenAI-Safety-Identifier"
"""The header with the name of the end user, as at the API. It counts from a trusted client only."""

ANONYMOUS = "anonymous"

CREDENTIAL_PARAMETERS = frozenset(
    {
        "access_token",
        "api-key",
        "api_key",
        "apikey",
        "authorization",
        "client_secret",
        "key",
        "secret",
        "token",
    }
)
"""Query parameters that carry a credential in other services. The relay refuses them, because
addresses are written to logs."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller and its permissions.

    Attributes:
        client: the client's name in the configuration, or ``anonymous``.
        personas: the personas that it may use; None for all.
        limits: its limits.
        trusted: it may fill in variables and name its end user.
        user: the hash of the end user that it named; two clients may have the same.
        claims: the content of its credential, if that is a short-lived one.
    """

    client: str
    personas: tuple[str, ...] | None = None
    limits: ClientLimits = field(default_factory=ClientLimits)
    trusted: bool = False
    user: str | None = None
    claims: Claims | None = None

    def may_use(self, persona: str) -> bool:
        """Return whether the principal may use this persona."""
        return self.personas is None or persona in self.personas

    @property
    def variables(self) -> Mapping[str, str]:
        """The values of the persona's variables."""
        return self.claims.variables if self.claims else {}


def authenticate(
    headers: MultiMapping[str], query: Mapping[str, str], config: Config, now: float
) -> Principal:
    """Return the caller of a request; ``now`` is in epoch seconds.

    Raises:
        InvalidRequest: a credential is in the query string.
        InvalidApiKey: there is no credential, or an unknown or expired one.
    """
    if any(name.lower() in CREDENTIAL_PARAMETERS for name in query):
        raise InvalidRequest(
            "A credential does not belong into the address. Send 'Authorization: Bearer KEY'."
        )
    credential = _credential(headers)
    if credential.startswith(SHORT_LIVED):
        return _short_lived(credential, config, now)
    if config.anonymous:
        return Principal(ANONYMOUS)
    name = _owner(credential, config)
    if name is None:
        raise InvalidApiKey
    client = config.clients[name]
    user = _end_user(headers) if client.trusted else None
    return Principal(name, client.personas, client.limits, client.trusted, user)


def _short_lived(credential: str, config: Config, now: float) -> Principal:
    """Return the holder of a short-lived credential, with the permissions of today's configuration.

    Raises:
        InvalidApiKey: it is not valid, or the client that issued it may no longer issue any.
    """
    if config.secrets is None:
        raise InvalidApiKey
    claims = verify(credential, config.secrets.signing_keys, now)
    if config.anonymous and claims.client == ANONYMOUS:
        return Principal(ANONYMOUS, (claims.persona,), claims=claims)
    client = config.clients.get(claims.client)
    if client is None or not client.trusted:
        raise InvalidApiKey
    allowed = client.personas is None or claims.persona in client.personas
    personas = (claims.persona,) if allowed else ()
    return Principal(claims.client, personas, client.limits, user=claims.user, claims=claims)


def _end_user(headers: MultiMapping[str]) -> str | None:
    """Return the hash of the end user's name, because a name is often an e-mail address."""
    name = headers.get(END_USER_HEADER, "").strip()
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest() if name else None


def _credential(headers: MultiMapping[str]) -> str:
    scheme, _, bearer = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and bearer.strip():
        return bearer.strip()
    if key := headers.get("api-key", "").strip():
        return key
    for protocol in subprotocols(headers):
        if protocol.startswith(KEY_PROTOCOL):
            return protocol.removeprefix(KEY_PROTOCOL)
    return ""


def _owner(credential: str, config: Config) -> str | None:
    """Return the client with this key; compare with all keys, so that the time reveals nothing."""
    digest = hashlib.sha256(credential.encode("utf-8", "surrogateescape")).hexdigest()
    owner = None
    for name, client in config.clients.items():
        for known in client.key_sha256:
            if hmac.compare_digest(digest, known) and credential:
                owner = name
    return owner


def check_origin(request: web.Request, config: Config) -> None:
    """Accept a page of the relay itself or of an allowed origin, and a client that is no browser.

    Raises:
        OriginNotAllowed: the page is of another origin.
    """
    origin = request.headers.get("Origin")
    if origin is None or origin in config.browser.allowed_origins:
        return
    own = origin == f"{request.scheme}://{request.host}"
    # Without keys, only its loopback address protects the relay. A hostile name may resolve to
    # loopback, and then its page has the relay's own origin.
    if not own or (config.anonymous and not _is_loopback(request.host)):
        raise OriginNotAllowed


def check_host(request: web.Request, config: Config) -> None:
    """Accept a request to a relay without keys only under a loopback name.

    A page of a hostile name that resolves to loopback reads the answer of a GET as its own, and a
    browser sends no Origin with such a request (DNS rebinding).

    Raises:
        OriginNotAllowed: the request names another host.
    """
    if config.anonymous and not _is_loopback(request.host):
        raise OriginNotAllowed


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    try:
        return name == "localhost" or ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def choose_persona(principal: Principal, query: Mapping[str, str], config: Config) -> Persona:
    """Return the persona that the caller names; if it names none, its own or the default.

    Raises:
        PersonaNotFound: no persona has this name, or none was named and there is no default.
        PersonaNotAllowed: the caller may not use it, or its credential is for another.
    """
    model = query.get("model")
    named = query.get("persona", model if model in config.personas else None)
    if named is None:
        named = _unnamed(principal, query, config)
    persona = config.personas.get(named or "")
    if persona is None:
        raise PersonaNotFound
    if not principal.may_use(persona.name):
        raise PersonaNotAllowed
    return persona


def _unnamed(principal: Principal, query: Mapping[str, str], config: Config) -> str | None:
    """Return the name of the persona for a caller that names none; None if there is no default.

    Raises:
        PersonaNotFound: it asks for a transcription, and several personas transcribe.
    """
    if principal.claims:
        return principal.claims.persona
    if query.get("intent") != TRANSCRIPTION:
        return config.default_persona
    transcribe = [p.name for p in config.personas.values() if p.transcribes]
    usable = list(filter(principal.may_use, transcribe))
    if not usable or config.default_persona in usable:
        return config.default_persona
    if len(usable) > 1:
        raise PersonaNotFound("Several personas transcribe. Choose one with ?persona=NAME.")
    return usable[0]
