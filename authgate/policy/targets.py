"""Checks of upstream targets. They look at the spelling only; nothing is resolved here."""

from __future__ import annotations

import ipaddress
import re

_URL = re.compile(r"https?://(.*)")
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[^:]*))?")
_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
# inet_aton, and so every C resolver, also reads 2130706433, 0177.1 and 0x7f.1 as addresses (WHATWG URL).
_NUMERIC_END = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_UNIX_PATH_BYTES = 107  # sun_path holds 108 with its closing NUL

# Prefixes before an IPv4 address (RFC 6052 2.1, RFC 8215, RFC 2765 2.1).
_BEFORE_V4 = [ipaddress.IPv6Network(prefix) for prefix in ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96")]
# Of clouds whose metadata, and with it the credentials of the machine, is not on a link-local address alone.
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "fd00:ec2::254", "fd00:ec2::23",  # Amazon: of machines, of pods
            "fd20:ce::254",  # Google
            "168.63.129.16",  # Azure
            "100.100.100.200",  # Alibaba
            "192.0.0.192",  # Oracle
            "fd00:42::42",  # Scaleway
        ),
    )
)  # fmt: skip

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def target_problem(target: str) -> str | None:
    """The reason why this target cannot be used, or None."""
    if not target.strip():
        return "an empty target"
    if re.search(r"[\s\\\x00-\x1f\x7f]", target) or not target.isascii():
        return "only visible ASCII characters, no spaces or backslashes"
    if target.startswith("unix:"):
        return _unix_problem(target.removeprefix("unix:"))
    match = _URL.fullmatch(target)
    if match is None:
        return "must be http://host:port, https://host:port or unix:/path"
    authority = match[1]
    if "@" in authority:
        return "no user name or password here"
    if re.search(r"[/?#]", authority):
        return "only scheme, host and port; no path, query or fragment"
    return _authority_problem(authority)


def name_problem(name: str) -> str | None:
    """The reason why no certificate can be for this name or address, or None."""
    return _host_problem(name)


def address_problem(address: Address) -> str | None:
    """The reason why the gateway must not connect there: cloud metadata services answer on link-local addresses."""
    inner = _embedded(address)
    if inner is not None:
        return address_problem(inner)
    if address.is_link_local or address in _METADATA:
        return f"{address} is a link-local or cloud metadata address"
    if address.is_unspecified or address.is_multicast:
        return f"{address} is not the address of a host"
    return None


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one leads to (RFC 4291 2.5.5, RFC 3056, RFC 6052)."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if any(address in prefix for prefix in _BEFORE_V4) or (int(address) >> 32 == 0 and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _unix_problem(path: str) -> str | None:
    if not path.startswith("/") or path.endswith("/"):
        return "unix: needs the absolute path of a socket: unix:/run/app.sock"
    if re.search(r"[?#]", path):
        return "no query or fragment after a socket path"
    return None if len(path) <= _UNIX_PATH_BYTES else f"longer than {_UNIX_PATH_BYTES} bytes"


def _authority_problem(authority: str) -> str | None:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return "must be http://host:port; an IPv6 address goes in brackets"
    port = match["port"]
    if port is not None and not (re.fullmatch(r"[1-9][0-9]{0,4}", port) and int(port) <= 65535):
        return "the port must be a number from 1 to 65535"
    return _host_problem(match["host"])


def _host_problem(host: str) -> str | None:
    if host.startswith("["):
        return _literal_problem(host[1:-1], ipaddress.IPv6Address)
    if host != host.lower():
        return f"write the host in lower case: {host.lower()}"
    if _NUMERIC_END.fullmatch(host):
        return _literal_problem(host, ipaddress.IPv4Address)
    return None if _NAME.fullmatch(host) else f"{host!r} is not a host name or address"


def _literal_problem(text: str, kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> str | None:
    try:
        address = kind(text)
    except ValueError:
        return f"{text!r} is not an address; IPv4 is four decimal numbers, IPv6 has no zone"
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return f"{text!r} is not an address; IPv4 is four decimal numbers, IPv6 has no zone"
    return address_problem(address)
