"""From what a server read to RequestFacts. Decides whom to believe about the client; never who may enter."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Any

from django.conf import settings

from authgate.decision import Headers, RawHeaders, Reason, RequestFacts
from authgate.host import Authority, HostRefused, parse_authority
from authgate.target import TargetRefused, canonical_path, check_query

_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_COMMON_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
# Traefik names the WebSocket schemes here; they are the same two as seen by a policy.
_SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}

# Method, scheme, raw path, raw query, address of the socket's peer, headers: nothing of it is believed yet.
Received = tuple[str, str, bytes, bytes, str, Headers]
# Peer and scheme of the connection; then, with what the headers say about them: scheme, authority, client and the list
# of who forwarded.
_Sender = tuple[tuple[str, str], str, Authority, str, str]


class FactsRefused(ValueError):
    """The request is malformed or ambiguous: answer 400 before anything is decided."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def received_from(scope: dict[str, Any]) -> Received:
    client, headers = scope["client"], scope["headers"]
    if not isinstance(headers, Headers):
        headers = Headers(headers)
    return (
        scope["method"], scope["scheme"], scope["raw_path"], scope["query_string"], client[0] if client else "",
        headers,
    )  # fmt: skip


def read_facts(
    method: str, scheme: str, raw_path: bytes, raw_query: bytes, peer: str, headers: Headers
) -> RequestFacts:
    """Raises FactsRefused. Forwarded headers count only when the socket peer is a trusted proxy."""
    sender: _Sender | None = headers.sender
    if sender is None or sender[0] != (peer, scheme):
        sender = headers.sender = _read_sender(headers, peer, scheme)
    if method not in _COMMON_METHODS:
        _check_method(method)
    try:
        path = canonical_path(raw_path)
        query = check_query(raw_query) if raw_query else b""
    except TargetRefused as error:
        raise FactsRefused(Reason.BAD_TARGET) from error
    _, scheme, authority, client, forwarded_for = sender
    return RequestFacts(method, scheme, authority, path, query, client, forwarded_for, headers)


@lru_cache(maxsize=4096)
def is_trusted_proxy(peer: str) -> bool:
    """Whether this socket peer may speak for others. A peer without an address never is."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in settings.AUTHGATE_TRUSTED_PROXIES)


def _check_method(method: str) -> None:
    # Method names are case-sensitive (RFC 9110 9.1): "get" must not slip past a rule for GET.
    if _METHOD.fullmatch(method) is None or method in ("CONNECT", "TRACE"):
        raise FactsRefused(Reason.BAD_METHOD)


def _read_sender(headers: RawHeaders, peer: str, scheme: str) -> _Sender:
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1:
        raise FactsRefused(Reason.BAD_HOST)
    seen, authority = (peer, scheme), _authority(hosts[0])
    peer = peer.partition("%")[0]  # a zone is of interest to nobody but this machine
    if is_trusted_proxy(peer):
        return seen, *_behind_proxy(headers, peer, scheme, authority)
    return seen, scheme, authority, peer, peer


def _behind_proxy(headers: RawHeaders, peer: str, scheme: str, authority: Authority) -> tuple[str, Authority, str, str]:
    hops = [*_forwarded(headers, b"x-forwarded-for"), peer]
    client_at = next((i for i in range(len(hops) - 1, -1, -1) if not is_trusted_proxy(hops[i])), 0)
    route = [_canonical_address(hop) for hop in hops[client_at:]]
    for proto in _forwarded(headers, b"x-forwarded-proto")[-1:]:
        if proto not in _SCHEMES:
            raise FactsRefused(Reason.BAD_HEADER)
        scheme = _SCHEMES[proto]
    authority = _forwarded_authority(headers, authority, scheme)
    return scheme, authority, route[0], ", ".join(route)


def _forwarded_authority(headers: RawHeaders, authority: Authority, scheme: str) -> Authority:
    for host in _forwarded(headers, b"x-forwarded-host")[-1:]:
        authority = _authority(host.encode("latin-1"))
    for port in _forwarded(headers, b"x-forwarded-port")[-1:]:
        if _PORT.fullmatch(port) is None or int(port) > 65535:
            raise FactsRefused(Reason.BAD_HEADER)
        if authority.port is None and int(port) != authority.effective_port(scheme):
            authority = Authority(authority.host, int(port))
    return authority


def _authority(raw: bytes) -> Authority:
    try:
        return parse_authority(raw)
    except HostRefused as error:
        raise FactsRefused(Reason.BAD_HOST) from error


def _forwarded(headers: RawHeaders, wanted: bytes) -> list[str]:
    """All values of a list header in order. The nearest proxy's is the last: it alone is vouched for."""
    joined = b",".join(value for name, value in headers if name == wanted).decode("latin-1")
    return [item.strip(" \t") for item in joined.split(",")] if joined else []


def _canonical_address(hop: str) -> str:
    # A zone ("fe80::1%…") may hold any characters, and means something only to the machine that wrote it.
    try:
        if "%" in hop:
            raise ValueError
        return str(ipaddress.ip_address(hop))
    except ValueError as error:
        raise FactsRefused(Reason.BAD_HEADER) from error
