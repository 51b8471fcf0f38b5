"""The sections ``clients`` and ``secrets``: the keys of clients, and short-lived credentials."""

import hashlib
from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from relay.config.limits import ClientLimits
from relay.yaml.section import Section
from relay.yaml.value import (
    NotEmpty,
    OneOrMore,
    PersonaName,
    Seconds,
    Secret,
    Sha256,
    SigningKey,
)


class Client(Section):
    """A caller with a key of its own."""

    key: OneOrMore[Secret] = Field(default=(), exclude=True, repr=False)
    """Key of the client, or a list of keys while one replaces another. Read it from the
    environment."""
    key_sha256: OneOrMore[Sha256] = Field(default=(), validate_default=True)
    """SHA-256 of the key in hexadecimal, or a list; `relay key new` prints it. A client needs a
    `key` or a `key_sha256`."""
    personas: NotEmpty[PersonaName] | None = None
    """Personas that the client may use; all personas if left out."""
    trusted: bool = False
    """Allow the client to issue credentials, to set variables and to name its end user."""
    limits: ClientLimits = ClientLimits()
    """Limits of one client."""

    @field_validator("key_sha256")
    @classmethod
    def _with_digests_of_keys(
        cls, digests: tuple[str, ...], info: ValidationInfo
    ) -> tuple[str, ...]:
        """Add the digests of the plain keys, so that the relay compares digests only."""
        keys = info.data.get("key")
        if keys == () and not digests:
            raise ValueError("is required, unless there is a key")
        return (*digests, *(_sha256(key) for key in keys or ()))


def _sha256(key: SecretStr) -> str:
    return hashlib.sha256(key.get_secret_value().encode()).hexdigest()


class Secrets(Section):
    """Short-lived credentials. Without this section, the relay issues none."""

    signing_keys: Annotated[OneOrMore[SigningKey], Field(min_length=1)]
    """Keys of the credentials: the first key signs, all keys verify."""
    ttl_seconds: Seconds = 600
    """Lifetime of a credential."""
    single_use: bool = False
    """Accept a credential for one session only. Each instance of the relay counts for itself."""
