"""TLS towards clients: which certificate files are usable, and how new files are loaded.

A certificate is replaced every few weeks, while sessions run. Its two files are written one after
the other, so that for a moment they do not fit together.
"""

import ssl
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NoReturn


class CertificateUnusable(ValueError):
    """A certificate cannot be used; the message contains nothing of its files.

    Attributes:
        key: The configuration key of the file in ``server``, ``tls_cert`` or ``tls_key``.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def valid_until(cert: Path) -> datetime:
    """Return the end of validity of the first certificate in a file, in UTC.

    Raises:
        CertificateUnusable: The file cannot be read, or has no certificate.
    """
    from cryptography import x509  # noqa: PLC0415  # slow, and not every relay uses TLS

    try:
        first, *_ = x509.load_pem_x509_certificates(cert.read_bytes())
    except OSError as error:
        raise CertificateUnusable("tls_cert", f"cannot be read: {error.strerror}") from None
    except ValueError:
        message = "must be certificates in PEM format, the relay's own first"
        raise CertificateUnusable("tls_cert", message) from None
    return first.not_valid_after_utc


def create_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Return the TLS settings of a server with this certificate.

    Raises:
        CertificateUnusable: The key cannot be read, or is not the key of the certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password=_no_passphrase)
    except ssl.SSLError as error:
        message = _REASONS.get(error.reason or "", f"cannot be used: {error.reason}")
        raise CertificateUnusable("tls_key", message) from None
    except OSError as error:
        raise CertificateUnusable("tls_key", f"cannot be read: {error.strerror}") from None
    return context


_REASONS = {
    "": "must be a private key in PEM format",
    "KEY_TYPE_MISMATCH": "is not the key of tls_cert",
    "KEY_VALUES_MISMATCH": "is not the key of tls_cert",
    "NO_CERTIFICATE_ASSIGNED": "is not the key of tls_cert",
}
"""Messages for the reasons of OpenSSL."""


def _no_passphrase() -> NoReturn:
    """Raise: without this function, OpenSSL would ask on the terminal."""
    raise CertificateUnusable("tls_key", "has a passphrase: remove it (openssl pkey -in FILE)")


class Tls:
    """Answers each TLS handshake with the newest usable pair of files.

    It checks the files when a client connects, which costs microseconds, so nothing polls. It
    reports an unusable pair to ``on_change`` once, and keeps the pair before it. ``on_change``
    receives None when a new pair is in use.

    Attributes:
        context: The TLS settings for the listening socket.
        valid_until: The end of validity of the certificate that is in use, in UTC.
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
            self._seen = state  # noted before the files are read: a later change is seen
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
    """Return values that differ after a file was written or replaced."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
