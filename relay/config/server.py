"""The sections ``server`` and ``browser``: the listening socket, and the pages that may connect."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from relay.wire import tls
from relay.yaml.section import Section
from relay.yaml.value import FilePath, Origin, Port, Text


class ServerSettings(Section):
    """The listening socket, the playground and the log."""

    host: Text = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8080
    """Port to listen on; 0 selects a free port."""
    tls_cert: FilePath | None = None
    """File with the certificate of the relay and its chain, in PEM format. With it, clients use
    https and wss. The relay reads the file again when it changes."""
    tls_key: FilePath | None = Field(default=None, validate_default=True)
    """File with the private key of the certificate, in PEM format without a passphrase. The relay
    reads the file again when it changes."""
    playground: bool = False
    """Serve a page at `GET /`, on which a user can talk to the personas."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """Format of the log; `auto` is `console` on a terminal and `json` elsewhere."""

    @field_validator("tls_cert")
    @classmethod
    def _is_a_certificate(cls, cert: Path | None) -> Path | None:
        if cert is not None:
            tls.valid_until(cert)
        return cert

    @field_validator("tls_key")
    @classmethod
    def _is_its_key(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if "tls_cert" not in info.data:
            return key  # the certificate has a problem already
        cert = info.data["tls_cert"]
        if (cert is None) != (key is None):
            raise ValueError("goes with tls_cert: give both or neither")
        if cert is not None and key is not None:
            tls.create_context(cert, key)
        return key


class Browser(Section):
    """The web pages that may connect."""

    allowed_origins: tuple[Origin, ...] = ()
    """Exact origins, such as `https://shop.example`. The origin of the relay itself is always
    allowed."""
