"""Tokens of Microsoft Entra ID, for upstreams of Azure that have no key.

They come through ``azure-identity``, an extra that takes most of a second to import: whose token
it is, is decided by the environment of the process, as everywhere with that package
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
"""A token is not used in its last minutes; ``azure-identity`` has the same bound."""

_LOGGERS = ("azure", "msal")
"""What the package logs to; it repeats what it was answered."""

_ATTEMPTED = re.compile(r"^\t(\w+): ", re.MULTILINE)
_ENTRA_CODE = re.compile(r"AADSTS\d+")


class NoToken(UpstreamRefused):
    """There is no token to be had, so the upstream was not even asked."""


class Entra:
    """Who this process is, for as long as the application runs.

    The package keeps tokens too, but not those of the Azure CLI, which is a process of a second
    each time.
    """

    def __init__(self) -> None:
        self._credential: DefaultAzureCredential | None = None
        self._token: AccessToken | None = None
        self._asking = asyncio.Lock()

    async def token(self) -> str:
        """Return a token that is good for some minutes; of many that want one, one asks.

        Cancelling is safe.

        Raises:
            NoToken: with the names and codes of what went wrong, and no word of any answer.
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
    """Provide tokens, and close what they came through."""
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
    """Name the exception, the codes of Entra, and what was attempted: the last of it failed."""
    said = str(error)
    codes = sorted(set(_ENTRA_CODE.findall(said)))
    attempted = _ATTEMPTED.findall(said)
    tried = f"after {', '.join(attempted)}" if attempted else ""
    return " ".join(filter(None, (type(error).__name__, *codes, tried)))
