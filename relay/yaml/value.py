"""The kinds of values in a configuration, as types for the fields of a section.

Their error messages never repeat the value, since any value may be a secret.
"""

import re
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo

T = TypeVar("T")

MIN_SIGNING_KEY_BYTES = 32
"""The length of the hash that uses the key (RFC 2104, section 3)."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The facts that the check of a value needs besides the value.

    Attributes:
        folder: Relative paths start here.
        known: The names that a value may have, by kind: "persona", "upstream"...
    """

    folder: Path
    known: Mapping[str, Collection[str]]


def _matching(pattern: str, message: str) -> AfterValidator:
    """Accept only a text that matches completely."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(message)
        return value

    return AfterValidator(check)


def _known(kind: str) -> AfterValidator:
    """Accept only known names of a kind; accept every name if there is no scope."""

    def check(value: str, info: ValidationInfo) -> str:
        known = info.context.known.get(kind) if info.context else None
        if known is not None and value not in known:
            raise ValueError(f"there is no such {kind}{did_you_mean(value, known)}")
        return value

    return AfterValidator(check)


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return the end of a message: the known word that is most similar, if there is one."""
    close = get_close_matches(word, known, n=1)
    return f": did you mean {close[0]}?" if close else ""


def _listed(value: Any) -> Any:
    """Read one value as a list of one."""
    return value if isinstance(value, (list, tuple)) else [value]


def _not_empty(values: tuple[T, ...]) -> tuple[T, ...]:
    if not values:
        raise ValueError("must not be empty")
    return values


def _number(value: Any) -> Any:
    """Refuse true and false, which are 1 and 0 in Python."""
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004  # pydantic collects ValueErrors
    return value


def _secret(value: SecretStr) -> SecretStr:
    """Refuse text that a header cannot carry: a line break at the end of a secret is common."""
    if not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces or line breaks, and not empty")
    return value


def _long_enough(key: SecretStr) -> SecretStr:
    """Refuse a key that the holder of a signed text could guess."""
    if len(key.get_secret_value()) < MIN_SIGNING_KEY_BYTES:
        raise ValueError(f"must have at least {MIN_SIGNING_KEY_BYTES} bytes: openssl rand -hex 32")
    return key


def _in_folder(path: Path, info: ValidationInfo) -> Path:
    """Read a relative path as relative to the folder of the configuration."""
    return info.context.folder / path if info.context else path


def _certificates(path: Path) -> Path:
    try:
        ssl.create_default_context(cafile=path)
    except OSError:
        raise ValueError("must be a readable file of certificates in PEM format") from None
    return path


_API_VERSION = re.compile(r"\?api-version=[0-9A-Za-z.-]+$")
_SCHEMES = ("http://", "https://", "ws://", "wss://")


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _url(value: str) -> str:
    """Accept the address of an upstream, and remove slashes at its end.

    The only query that it accepts is the version of Azure's preview.
    """
    if not value.lower().startswith(_SCHEMES):
        raise ValueError("must start with http://, https://, ws:// or wss://")
    if not _has_host(value) or not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ValueError("must be a URL: scheme://host[:port][/path]")
    if {"?", "#", "@"} & set(_API_VERSION.sub("", value)):
        raise ValueError("must have no user, password, query or fragment: use api_key and headers")
    return value.rstrip("/")


_RESERVED_HEADERS = frozenset(
    {"authorization", "connection", "content-length", "host", "openai-beta", "transfer-encoding"}
    | {"upgrade"}
)


def _header(name: str) -> str:
    lower = name.lower()
    if lower in _RESERVED_HEADERS or lower.startswith("sec-websocket-"):
        raise ValueError("is set by the relay itself and cannot be configured")
    return name


def _header_value(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x20-\x7e]*", value.get_secret_value()):
        raise ValueError("must be printable ASCII without line breaks")
    return value


Name = Annotated[
    str,
    _matching(
        r"[A-Za-z0-9][A-Za-z0-9_.-]*",
        "must be a name: letters, digits, dots, hyphens and underscores",
    ),
]
Named = Annotated[Mapping[Name, T], AfterValidator(MappingProxyType)]
Text = Annotated[str, Field(min_length=1)]
Port = Annotated[int, BeforeValidator(_number), Field(ge=0, le=65535)]
Count = Annotated[int, BeforeValidator(_number), Field(ge=1)]
WarmConnections = Annotated[int, BeforeValidator(_number), Field(ge=0, le=100)]
Rate = Annotated[float, BeforeValidator(_number), Field(gt=0)]
Seconds = Annotated[
    float, BeforeValidator(_number), Field(gt=0, json_schema_extra={"format": "seconds"})
]
Usd = Annotated[Decimal, BeforeValidator(_number), Field(gt=0, json_schema_extra={"format": "usd"})]
UsdRate = Annotated[Decimal, BeforeValidator(_number), Field(ge=0)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
SigningKey = Annotated[Secret, AfterValidator(_long_enough)]
FilePath = Annotated[Path, AfterValidator(_in_folder)]
Certificates = Annotated[FilePath, AfterValidator(_certificates)]
Url = Annotated[str, AfterValidator(_url)]
Origin = Annotated[
    str,
    _matching(
        r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?",
        "must be an exact origin as browsers send it: scheme://host[:port], in lower case",
    ),
]
Sha256 = Annotated[
    str,
    _matching("[0-9A-Fa-f]{64}", "must be a SHA-256 in 64 hexadecimal digits"),
    AfterValidator(str.lower),
]
FieldName = Annotated[
    str, _matching(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", "must be the name of a header")
]
HeaderName = Annotated[FieldName, AfterValidator(_header)]
HeaderValue = Annotated[SecretStr, AfterValidator(_header_value)]
FieldPath = Annotated[str, _matching(r"\w+(\.\w+)*", "must be a dotted path of field names")]
Token = Annotated[str, _matching(r"[\x21-\x7e]+", "must be printable ASCII without spaces")]
PersonaName = Annotated[str, _known("persona")]
UpstreamName = Annotated[str, _known("upstream")]
ClientEvent = Annotated[str, _known("client event")]
SessionField = Annotated[FieldPath, _known("session field that can be opened")]
ResponseField = Annotated[str, _known("field of response.create")]
Headers = Annotated[Mapping[HeaderName, HeaderValue], AfterValidator(MappingProxyType)]
NotEmpty = Annotated[tuple[T, ...], AfterValidator(_not_empty)]
OneOrMore = Annotated[
    tuple[T, ...], BeforeValidator(_listed), Field(json_schema_extra={"one_or_more": True})
]


def empty_mapping() -> Mapping[str, Any]:
    """Return a mapping without keys, which cannot be changed."""
    return MappingProxyType({})
