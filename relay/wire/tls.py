"""TLS towards clients: which files can be used for it, and how new ones are taken up.

A certificate is replaced every few weeks, and while sessions run. Whoever replaces it writes two
files, one after the other, so that between them there is no pair.
"""

import ssl
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NoReturn


class CertificateUnusable(ValueError):
    """A certificate cannot be shown to clients; nothing of its files is in the words.

    Attributes:
        key: The key of ``server`` that names the file, ``tls_cert`` or ``tls_key``.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def valid_until(cert: Path) -> datetime:
    """Return when the first certificate of a file ends, in UTC.

    Raises:
        CertificateUnusable: There is none.
    """
    from cryptography import x509  # noqa: PLC0415  # slow, and not every relay speaks TLS

    try:
        first, *_ = x509.load_pem_x509_certificates(cert.read_bytes())
    except OSError as error:
        raise CertificateUnusable("tls_cert", f"cannot be read: {error.strerror}") from None
    except ValueError:
        message = "must be certificates in PEM format, the relay's own first"
        raise CertificateUnusable("tls_cert", message) from None
    return first.not_valid_after_utc


def create_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Return what speaks TLS with this certificate.

    Raises:
        CertificateUnusable: The key is none, or not that of the certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password=_no_passphrase)
    except ssl.SSLError as error:
        said = _REASONS.get(error.reason or "", f"cannot be used: {error.reason}")
        raise CertificateUnusable("tls_key", said) from None
    except OSError as error:
        raise CertificateUnusable("tls_key", f"cannot be read: {error.strerror}") from None
    return context


_REASONS = {
    "": "must be a private key in PEM format",
    "KEY_TYPE_MISMATCH": "is not the key of tls_cert",
    "KEY_VALUES_MISMATCH": "is not the key of tls_cert",
    "NO_CERTIFICATE_ASSIGNED": "is not the key of tls_cert",
}
"""What OpenSSL says, in the words of the configuration."""


def _no_passphrase() -> NoReturn:
    """Refuse to be asked, since OpenSSL would ask on the terminal."""
    raise CertificateUnusable("tls_key", "has a passphrase: remove it (openssl pkey -in FILE)")


class Tls:
    """Answers each TLS handshake with the newest pair of files that can be used.

    The files are looked at when a client connects, which costs microseconds, so nothing polls. A
    pair that cannot be used is told of once, and the one before it stays.

    Attributes:
        context: For whoever listens.
        valid_until: When the certificate that is shown now ends, in UTC.
    """

    def __init__(
        self, cert: Path, key: Path, on_change: Callable[[CertificateUnusable | None], None]
    ) -> None:
        self._cert, self._key = cert, key
        self._on_change = on_change
        self._seen = self._state()
        self.valid_until = valid_until(cert)
        self._newest = self.context = create_context(cert, key)
        # OpenSSL calls it in every handshake, whether the client names a server or not.
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _own: ssl.SSLContext) -> None:
        state = self._state()
        if state != self._seen:
            self._seen = state  # taken before the files are read: what changes meanwhile is seen
            self._renew()
        connection.context = self._newest

    def _renew(self) -> None:
        try:
            until = valid_until(self._cert)
            self._newest = create_context(self._cert, self._key)
        except CertificateUnusable as unusable:
            self._on_change(unusable)
        else:
            self.valid_until = until
            self._on_change(None)

    def _state(self) -> tuple[object, ...]:
        return tuple(map(_state_of, (self._cert, self._key)))


def _state_of(file: Path) -> tuple[int, int, int] | None:
    """Return what differs once a file was written or another was put in its place."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
