"""The section ``upstreams``: the servers that sessions run on."""

from importlib.util import find_spec
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from relay.yaml.section import Section
from relay.yaml.value import (
    Certificates,
    FieldPath,
    Headers,
    Seconds,
    Secret,
    Token,
    Url,
    WarmConnections,
    empty_mapping,
)


class Upstream(Section):
    """A server with the Realtime API."""

    provider: Literal["openai", "azure", "compatible"] = "openai"
    """Provider of the server; `compatible` is any other server with the Realtime protocol."""
    url: Url = "https://api.openai.com/v1"
    """Address of the server, with http, https, ws or wss; required unless the provider is
    `openai`. For `azure`, the address of the resource; with the dialect `beta`,
    `?api-version=...` selects another preview version."""
    dialect: Literal["ga", "beta"] = "ga"
    """Interface of the server. With `beta`, the relay omits the parts of a session that this
    interface does not have."""
    api_key: Secret | None = Field(default=None, validate_default=True)
    """API key that the relay sends to the server. It is optional for `compatible`, and for `azure`
    if the extra `azure` is installed: the relay then gets tokens from Microsoft Entra ID."""
    organization: Token | None = None
    """Value of the header `OpenAI-Organization`."""
    project: Token | None = None
    """Value of the header `OpenAI-Project`."""
    headers: Headers = Field(default_factory=empty_mapping)
    """More headers of the opening handshake. Their values are treated as secrets."""
    ca_file: Certificates | None = None
    """File of certificates in PEM format, to trust instead of the certificates of the system."""
    ready_timeout_seconds: Seconds = 8
    """Time limit until an upstream has confirmed the persona, fallbacks included."""
    warm_connections: WarmConnections = 0
    """Number of connections, with TLS, that the relay keeps open for the next sessions. The relay
    replaces each of them at least every 30 s."""
    extra_session_fields: tuple[FieldPath, ...] = ()
    """Session fields that this server accepts and that the types of the `openai` package do not
    have, as dotted paths."""

    @field_validator("api_key")
    @classmethod
    def _has_a_required_key(cls, key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        provider = info.data.get("provider")
        if key is None and provider == "openai":
            raise ValueError("is required for this provider")
        if key is None and provider == "azure" and not _entra_is_installed():
            message = 'is required, or the extra "azure": pip install "realtime-relay[azure]"'
            raise ValueError(message)
        return key

    @model_validator(mode="after")
    def _has_its_own_url(self) -> Self:
        """Keep the key of another server from being sent to OpenAI."""
        if self.provider != "openai" and "url" not in self.model_fields_set:
            raise ValueError("needs a url: only the provider openai has a default")
        return self

    @model_validator(mode="after")
    def _has_a_version_only_for_azure_beta(self) -> Self:
        if "?" in self.url and (self.provider, self.dialect) != ("azure", "beta"):
            raise ValueError("has an api-version: only azure takes one, with dialect: beta")
        return self


def _entra_is_installed() -> bool:
    try:
        return find_spec("azure.identity") is not None
    except ModuleNotFoundError:  # the package `azure` itself is missing
        return False
