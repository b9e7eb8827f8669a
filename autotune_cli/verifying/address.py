"""Where a server is."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from autotune_cli.errors import BadField
from autotune_cli.fields import Message

_PORTS = {"http": 80, "https": 443}
_API = "/v1"


@dataclass(frozen=True)
class Address:
    """Of a server that speaks OpenAI's API."""

    scheme: str
    host: str
    port: int
    prefix: str
    """Of its paths, in front of ``/v1``."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.prefix}"

    def path(self, name: str) -> str:
        """``/v1/models``."""
        return f"{self.prefix}{_API}/{name}"


def parse_address(field: str, text: str) -> Address:
    """The server of ``http://host:8000``, with or without ``/v1`` at its end.

    Args:
        field: for messages.

    Raises:
        BadField: it is no address of a server.
    """
    example = "write http://127.0.0.1:30000"
    if not text.isascii() or not text.isprintable() or " " in text:
        raise BadField(field, f"{text[:100]!r} is no address: it has a blank or a character that needs to be encoded")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadField(field, f"{text[:100]!r} is no address: {str(error).lower()}") from None
    if parts.scheme not in _PORTS:
        raise BadField(field, f"{text[:100]!r} begins with neither http:// nor https://; {example}")
    if parts.username is not None or parts.password is not None:
        # Not shown: it may be a password.
        text = "an address with a name or password in it; name a variable by {fields.api_key_variable} instead"
        raise BadField(field, Message(text))
    if not host:
        raise BadField(field, f"{text[:100]!r} names no host; {example}")
    if parts.query or parts.fragment:
        raise BadField(field, f"{text[:100]!r} has more than a host, a port and a path; {example}")
    try:
        # As Python's sockets do.
        host.encode("idna")
    except UnicodeError:
        raise BadField(field, f"{text[:100]!r} names a host with a part that is empty or too long") from None
    path = parts.path.rstrip("/")
    return Address(parts.scheme, host, port or _PORTS[parts.scheme], path.removesuffix(_API))
