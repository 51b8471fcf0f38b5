"""The root of the configuration: the content of relay.yaml, its personas and its prices.

The models of the sections are also the reference for operators: `docs/configuration.md` is
generated from their types, defaults and docstrings. `relay.config.loading` makes them from files.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PrivateAttr, SecretStr

from relay.config.clients import Client, Secrets
from relay.config.limits import Limits
from relay.config.persona import Persona
from relay.config.server import Browser, ServerSettings
from relay.config.sources import Sources
from relay.config.upstream import Upstream
from relay.core.pricing import Prices
from relay.tools.config import signing_bytes
from relay.yaml.section import Section
from relay.yaml.source import KeyPath, Problem
from relay.yaml.value import Count, FilePath, Named, PersonaName, Secret, empty_mapping


class Usage(Section):
    """The ledger: a database of the usage of each session."""

    path: FilePath = Field(default=Path("data/usage.db"), validate_default=True)
    """Database file. A relative path starts at the folder of this file."""
    prices: FilePath = Field(default=Path("prices.yaml"), validate_default=True)
    """Price list. A relative path starts at the folder of this file. If this key is left out, the
    file may be missing: the relay then counts tokens without their cost."""
    on_failure: Literal["refuse", "continue"] = "refuse"
    """Refuse or continue to accept new sessions while the relay cannot write to the ledger."""


def _signing(key: SecretStr) -> SecretStr:
    signing_bytes(key.get_secret_value())
    return key


class Tools(Section):
    """The tools that the relay itself runs."""

    signing_key: Annotated[Secret, AfterValidator(_signing)] | None = None
    """Key that signs the requests to tools (https://www.standardwebhooks.com). A key with the
    prefix `whsec_` is base64."""
    max_running: Count = 1000
    """Maximum number of tool calls at the same time."""


class Config(Section):
    """The content of relay.yaml and of its personas."""

    server: ServerSettings = ServerSettings()
    """The listening socket, the playground and the log."""
    upstreams: Annotated[Named[Upstream], Field(min_length=1)]
    """The servers that sessions run on, by name."""
    default_persona: PersonaName | None = None
    """Persona for a client that names none. Without it, such a client gets `persona_not_found`."""
    personas: Annotated[Mapping[str, Persona], AfterValidator(MappingProxyType)] = Field(
        json_schema_extra={"format": "folder"}
    )
    """Folder beside this file, with one YAML file per persona. The name of the file is the name of
    the persona."""
    clients: Named[Client] = Field(default_factory=empty_mapping)
    """The callers, by name. Without any, every client may connect, and the relay listens only on
    loopback."""
    secrets: Secrets | None = None
    """Short-lived credentials. Without this section, the relay issues none."""
    browser: Browser = Browser()
    """The web pages that may connect."""
    limits: Limits = Limits()
    """Limits of the relay and of each connection."""
    usage: Usage = Field(default_factory=empty_mapping, validate_default=True)
    """The ledger: a database of the usage of each session."""
    tools: Tools = Tools()
    """The tools that the relay itself runs."""
    file: Path
    """The path of relay.yaml."""
    _prices: Prices = PrivateAttr(default_factory=Prices)
    _sources: Sources = PrivateAttr()

    @property
    def prices(self) -> Prices:
        """The price list that `usage.prices` names."""
        return self._prices

    @property
    def anonymous(self) -> bool:
        """Whether every client may connect, because no client is configured."""
        return not self.clients

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Return a problem at a path of the configuration, with its file and line."""
        return self._sources.problem(path, message)


def check_listen(host: str) -> str | None:
    """Return why an anonymous relay may not listen on a host; None if it may."""
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if loopback:
        return None
    return "would let anybody in: listen on 127.0.0.1, or give a client a key under `clients`"
