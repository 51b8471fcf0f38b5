"""What a short-lived credential says, sealed so that nobody can read or change it on the way.

A credential is a Fernet token (https://github.com/fernet/spec): AES-128-CBC, signed with
HMAC-SHA256. There is one format and no header that names an algorithm, so there is none to choose
for an attacker. It is encrypted as well as signed, because it is handed to browsers, and the
variables in it are words of the prompt.

Nothing is stored: whoever has one of the signing keys can open it, so instances share them. Time
is an argument, in epoch seconds.
"""

import base64
import hmac
import re
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from relay.core.errors import InvalidApiKey

SHORT_LIVED = "ek_"
"""What a short-lived credential starts with, as OpenAI's do."""

_PURPOSE = b"relay: short-lived credentials"
_BASE64 = re.compile(r"[\w-]+", re.ASCII)


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a short-lived credential stands for.

    Attributes:
        credential_id: no two credentials have the same.
        client: who minted it, and whose limits count.
        persona: the only one that it is good for.
        variables: what was filled in.
        user: the hash of the client's end user, if one was named.
        issued_at: in epoch seconds.
        expires_at: the same. It can start no session from then on; one that runs goes on.
    """

    credential_id: str
    client: str
    persona: str
    variables: Mapping[str, str]
    user: str | None
    issued_at: int
    expires_at: int


def mint(claims: Claims, signing_keys: Sequence[SecretStr]) -> str:
    """Return the credential that says this, sealed with the first of the keys."""
    token = _ring(signing_keys).encrypt_at_time(msgspec.json.encode(claims), claims.issued_at)
    # A browser sends it as a subprotocol, and "=" may not stand in one (RFC 9110 5.6.2).
    return SHORT_LIVED + token.decode().rstrip("=")


def verify(credential: str, signing_keys: Sequence[SecretStr], now: float) -> Claims:
    """Return what a credential says that one of the keys has sealed.

    Raises:
        InvalidApiKey: it was not made with one of the keys, was changed, or has expired.
    """
    token = credential.removeprefix(SHORT_LIVED)
    if token == credential or not _is_canonical(token):
        raise InvalidApiKey
    try:
        claims = msgspec.json.decode(_ring(signing_keys).decrypt(_padded(token)), type=Claims)
    except (InvalidToken, msgspec.MsgspecError):  # the latter from another version of the relay
        raise InvalidApiKey from None
    if now >= claims.expires_at:
        raise InvalidApiKey("The short-lived credential has expired. Mint another.")
    return claims


class SingleUse:
    """Remembers which credentials were used, for as long as they could be used again."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._expiries: list[tuple[int, str]] = []

    def use(self, claims: Claims, now: float) -> None:
        """Take the one session that the credential is good for.

        Raises:
            InvalidApiKey: it is taken.
        """
        while self._expiries and self._expiries[0][0] <= now:
            self._used.discard(heappop(self._expiries)[1])
        if claims.credential_id in self._used:
            raise InvalidApiKey("The short-lived credential was used. Mint another.")
        self._used.add(claims.credential_id)
        heappush(self._expiries, (claims.expires_at, claims.credential_id))

    def give_back(self, claims: Claims) -> None:
        """Let the credential be used again: the session did not start."""
        self._used.discard(claims.credential_id)


def _ring(signing_keys: Sequence[SecretStr]) -> MultiFernet:
    """Derive keys that are good for nothing else, so no other use of a signing key meets them."""
    derived = (
        hmac.digest(key.get_secret_value().encode(), _PURPOSE, "sha256") for key in signing_keys
    )
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in derived])


def _is_canonical(token: str) -> bool:
    """Tell whether the token is written as we write it.

    Python's decoder skips what is not base64 and ignores the last bits, so that one credential
    would have many spellings.
    """
    if not _BASE64.fullmatch(token) or len(token) % 4 == 1:
        return False
    rewritten = base64.urlsafe_b64encode(base64.urlsafe_b64decode(_padded(token)))
    return rewritten.decode().rstrip("=") == token


def _padded(token: str) -> str:
    return token + "=" * (-len(token) % 4)
