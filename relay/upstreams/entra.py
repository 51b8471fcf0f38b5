"""Tokens of Microsoft Entra ID, for upstreams of Azure that have no key.

They come from ``azure-identity``, an extra that takes most of a second to import. The environment
of the process decides on the identity, as in every program that uses the package
(https://learn.microsoft.com/azure/developer/python/sdk/authentication/credential-chains).
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from relay.core.errors import UpstreamRefused

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.identity.aio import DefaultAzureCredential

SCOPE: Final = "https://ai.azure.com/.default"

RENEW_SECONDS: Final = 300
"""A token is renewed this long before it expires; ``azure-identity`` uses the same margin."""

_LOGGERS = ("azure", "msal")
"""The loggers of the package; it logs the answers that it receives."""

_ATTEMPTED = re.compile(r"^\t(\w+): ", re.MULTILINE)
_ENTRA_CODE = re.compile(r"AADSTS\d+")


class NoToken(UpstreamRefused):
    """Entra ID gave no token, so the relay did not connect to the upstream."""


class Entra:
    """The identity of this process at Entra ID, and its current token.

    The package keeps tokens too, but not the tokens of the Azure CLI: each of those takes a process
    and a second.
    """

    def __init__(self) -> None:
        self._credential: DefaultAzureCredential | None = None
        self._token: AccessToken | None = None
        self._asking = asyncio.Lock()

    async def token(self) -> str:
        """Return a token that is valid for some minutes; concurrent callers share one request.

        Cancelling this is safe.

        Raises:
            NoToken: with the names and codes of the failures, and no text of an answer.
        """
        async with self._asking:
            if self._token is None or self._token.expires_on < time.time() + RENEW_SECONDS:
                self._token = await self._ask()
            return self._token.token

    async def _ask(self) -> "AccessToken":
        try:
            if self._credential is None:
                self._credential = await asyncio.to_thread(_credential)
            return await self._credential.get_token(SCOPE)
        except Exception as error:
            raise NoToken(detail=f"no token of Entra ID: {_cause(error)}") from error

    async def close(self) -> None:
        """Close the connections."""
        if self._credential is not None:
            await self._credential.close()


@asynccontextmanager
async def identity() -> AsyncIterator[Entra]:
    """Provide tokens, and close the connections to Entra ID."""
    entra = Entra()
    try:
        yield entra
    finally:
        await entra.close()


def _credential() -> "DefaultAzureCredential":
    from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415  # an extra, and slow

    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return DefaultAzureCredential(use_env_settings=False)  # no proxy of the environment


def _cause(error: Exception) -> str:
    """Return the exception's type, the codes of Entra, and the attempted credentials.

    The last of the attempted credentials failed.
    """
    message = str(error)
    codes = sorted(set(_ENTRA_CODE.findall(message)))
    attempted = _ATTEMPTED.findall(message)
    tried = f"after {', '.join(attempted)}" if attempted else ""
    return " ".join(filter(None, (type(error).__name__, *codes, tried)))
