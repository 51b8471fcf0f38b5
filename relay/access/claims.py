"""The claims of a short-lived credential, sealed: without a key they cannot be read or changed.

A credential is a Fernet token (https://github.com/fernet/spec): AES-128-CBC, signed with
HMAC-SHA256. There is one format, and no header names an algorithm, so an attacker cannot choose
one. It is encrypted as well as signed, because browsers receive it, and the variables in it are
part of the prompt.

Nothing is stored: each signing key opens every credential that it sealed, so instances share the
keys. Time is an argument, in epoch seconds.
"""

import base64
import hmac
import re
from collections.abc import Mapping, Sequence

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from relay.core.errors import InvalidApiKey

SHORT_LIVED = "ek_"
"""The start of a short-lived credential, as at OpenAI."""

_PURPOSE = b"relay: short-lived credentials"
_BASE64 = re.compile(r"[\w-]+", re.ASCII)


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a short-lived credential.

    Attributes:
        credential_id: no two credentials have the same.
        client: the client that issued it; the limits of this client count.
        persona: the only persona that it is valid for.
        variables: the values of the persona's variables.
        user: the hash of the client's end user, if one was named.
        issued_at: in epoch seconds.
        expires_at: in epoch seconds. From then on it starts no session; a running session goes on.
    """

    credential_id: str
    client: str
    persona: str
    variables: Mapping[str, str]
    user: str | None
    issued_at: int
    expires_at: int


def issue(claims: Claims, signing_keys: Sequence[SecretStr]) -> str:
    """Return a credential with these claims, sealed with the first of the keys."""
    token = _fernet(signing_keys).encrypt_at_time(msgspec.json.encode(claims), claims.issued_at)
    # A browser sends it as a subprotocol, which cannot contain "=" (RFC 9110 5.6.2).
    return SHORT_LIVED + token.decode().rstrip("=")


def verify(credential: str, signing_keys: Sequence[SecretStr], now: float) -> Claims:
    """Return the claims of a credential.

    Raises:
        InvalidApiKey: none of the keys sealed it, it was changed, or it has expired.
    """
    token = credential.removeprefix(SHORT_LIVED)
    if token == credential or not _is_canonical(token):
        raise InvalidApiKey
    try:
        claims = msgspec.json.decode(_fernet(signing_keys).decrypt(_padded(token)), type=Claims)
    except (InvalidToken, msgspec.MsgspecError):  # the latter from another version of the relay
        raise InvalidApiKey from None
    if now >= claims.expires_at:
        raise InvalidApiKey("The short-lived credential has expired. Request another.")
    return claims


def _fernet(signing_keys: Sequence[SecretStr]) -> MultiFernet:
    """Derive keys for this purpose only, so that no other use of a signing key can open a token."""
    derived = (
        hmac.digest(key.get_secret_value().encode(), _PURPOSE, "sha256") for key in signing_keys
    )
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in derived])


def _is_canonical(token: str) -> bool:
    """Return whether the token is in the one form that ``issue`` writes.

    Python's decoder skips characters that are not base64 and ignores the last bits, so one
    credential would have many forms.
    """
    if not _BASE64.fullmatch(token) or len(token) % 4 == 1:
        return False
    rewritten = base64.urlsafe_b64encode(base64.urlsafe_b64decode(_padded(token)))
    return rewritten.decode().rstrip("=") == token


def _padded(token: str) -> str:
    return token + "=" * (-len(token) % 4)
