"""The one canonicalisation of a Host header."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{0,5}))?")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


class HostRefused(ValueError):
    """Not a host name or address with an optional port (RFC 9110 7.2)."""


class Authority(NamedTuple):
    host: str  # lower case, no trailing dot; IPv6 in brackets, compressed
    port: int | None  # as given

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"

    def effective_port(self, scheme: str) -> int:
        return self.port if self.port is not None else (443 if scheme == "https" else 80)


class Origin(NamedTuple):
    """Where a URL leads to."""

    scheme: str
    authority: Authority

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def port(self) -> int:
        return self.authority.effective_port(self.scheme)


def is_loopback(host: str) -> bool:
    """Whether a host name or address, in lower case, is this machine's own by its form: nothing is resolved."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        # RFC 6761 6.3: localhost and every name below it is this machine.
        name = host.removesuffix(".")
        return name == "localhost" or name.endswith(".localhost")
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def leads_to_loopback(url: str) -> bool:
    """Raises ValueError for what is no URL."""
    return is_loopback(urlsplit(url).hostname or "")


@lru_cache(maxsize=1024)
def parse_origin(url: str) -> Origin:
    """Raises HostRefused, or ValueError for what is no URL."""
    parts = urlsplit(url)
    return Origin(parts.scheme, parse_authority(parts.netloc.encode()))


@lru_cache(maxsize=1024)
def parse_authority(raw: bytes) -> Authority:
    """`Example.com.:8000` → `example.com`, 8000. Raises HostRefused."""
    try:
        match = _AUTHORITY.fullmatch(raw.decode("ascii"))
    except UnicodeDecodeError as error:
        raise HostRefused("the host is not ASCII") from error
    if match is None:
        raise HostRefused("not a host with an optional port")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port <= 65535:
        raise HostRefused("no such port")
    return Authority(_canonical_host(match["host"]), port)


def _canonical_host(host: str) -> str:
    if host.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        except ValueError as error:
            raise HostRefused("not an IPv6 address") from error
    host = host.lower().removesuffix(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise HostRefused("not a host name")
    return host
