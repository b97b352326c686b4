"""From what a server read to RequestFacts. Decides whom to believe about the client; never who may enter."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Protocol

from django.conf import settings

from authgate.own_hosts import own_hosts, public_port
from authgate.reason import Reason
from authgate.request import RequestFacts
from authgate.wire.address import canonical_address, parse_address
from authgate.wire.authority import Authority, HostRefused, is_loopback, parse_authority
from authgate.wire.headers import Headers, Sender
from authgate.wire.path_as_sent import may_be_below, path_as_sent
from authgate.wire.target import TargetRefused, canonical_path, check_query
from authgate.wire.websocket import names_another_protocol

_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_COMMON_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
# Traefik names the WebSocket schemes here; they are the same two as seen by a policy.
_SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}

# Method, scheme, raw path, raw query with "?", address of the socket's peer, headers: nothing of it is believed yet.
Received = tuple[str, str, bytes, bytes, str, Headers]


class RoutedHosts(Protocol):
    """The route table, as far as it is asked here."""

    has_as_sent: bool

    def takes_as_sent(self, host: str, path: str, method: str) -> bool: ...

    def names_host(self, host: str) -> bool: ...


class FactsRefused(ValueError):
    """The request is malformed or ambiguous: answer 400 before anything is decided."""

    def __init__(self, reason: Reason, rule: str = "") -> None:
        """`rule`: for the log, what exactly refused a target."""
        super().__init__(reason.value)
        self.reason, self.rule = reason, rule


def received_from(scope: dict[str, Any]) -> Received:
    client, headers = scope["client"], scope["headers"]
    if not isinstance(headers, Headers):
        headers = Headers(headers)
    return (
        scope["method"], scope["scheme"], scope["raw_path"], _query_of(scope), client[0] if client else "", headers,
    )  # fmt: skip


def _query_of(scope: dict[str, Any]) -> bytes:
    """With its "?". ASGI loses one with nothing behind it; our own server says it beside."""
    query: bytes = scope["query_string"]
    return b"?" + query if query or scope.get("bare_query") else b""


def read_facts(
    method: str,
    scheme: str,
    raw_path: bytes,
    raw_query: bytes,
    peer: str,
    headers: Headers,
    routed: RoutedHosts | None = None,
) -> RequestFacts:
    """Raises FactsRefused. Forwarded headers count only when the socket peer is a trusted proxy."""
    sender = headers.sender
    if sender is None or sender[0] != (peer, scheme):
        sender = _read_sender(headers, peer, scheme, routed)
    if method not in _COMMON_METHODS:
        _check_method(method)
    _, scheme, authority, client, forwarded_for, wants_upgrade = sender
    as_sent = False
    try:
        query = check_query(raw_query) if raw_query else b""
        try:
            path = canonical_path(raw_path)
        except TargetRefused as refused:
            path, as_sent = _path_as_sent(raw_path, authority.host, method, routed, refused), True
    except TargetRefused as error:
        raise FactsRefused(Reason.BAD_TARGET, str(error)) from error
    return RequestFacts(method, scheme, authority, path, query, client, forwarded_for, headers, wants_upgrade, as_sent)


@lru_cache(maxsize=4096)
def is_trusted_proxy(peer: str) -> bool:
    """Whether this socket peer may speak for others. A peer without an address never is."""
    address = parse_address(peer)
    return address is not None and any(address in network for network in settings.AUTHGATE_TRUSTED_PROXIES)


def _check_method(method: str) -> None:
    # Method names are case-sensitive (RFC 9110 9.1): "get" must not slip past a rule for GET.
    if _METHOD.fullmatch(method) is None or method in ("CONNECT", "TRACE"):
        raise FactsRefused(Reason.BAD_METHOD)


def _path_as_sent(raw: bytes, host: str, method: str, routed: RoutedHosts | None, refused: TargetRefused) -> str:
    """Of a path that has no canonical form, where a route takes such. Raises TargetRefused."""
    if routed is None or not routed.has_as_sent:
        raise refused
    path = path_as_sent(raw)
    # The only paths of ours on a host of services.
    if may_be_below(path, settings.AUTHGATE_AUTH_PREFIX):
        raise TargetRefused("the path could be read as one of the gateway's own")
    if not routed.takes_as_sent(host, path, method):
        raise refused
    return path


def _read_sender(headers: Headers, peer: str, scheme: str, routed: RoutedHosts | None) -> Sender:
    """Kept with the headers, unless it hangs on the policy, which may be another one when they come again."""
    hosts = headers.values(b"host")
    if len(hosts) != 1:
        raise FactsRefused(Reason.BAD_HOST)
    seen, authority = (peer, scheme), _authority(hosts[0])
    peer = canonical_address(peer) or peer  # that of a unix socket has none
    if is_trusted_proxy(peer):
        sender = (seen, *_behind_proxy(headers, peer, scheme, authority, routed), _wants_upgrade(headers))
        headers.sender = sender if sender[2].host == authority.host else None
    else:
        sender = headers.sender = (seen, scheme, authority, peer, peer, _wants_upgrade(headers))
    return sender


def _wants_upgrade(headers: Headers) -> bool:
    return names_another_protocol(headers.values(b"upgrade"))


def _behind_proxy(
    headers: Headers, peer: str, scheme: str, authority: Authority, routed: RoutedHosts | None
) -> tuple[str, Authority, str, str]:
    route = _route_of(_forwarded(headers, b"x-forwarded-for"), peer)
    for proto in _forwarded(headers, b"x-forwarded-proto")[-1:]:
        scheme = _forwarded_scheme(proto)
    authority = _forwarded_host(headers, authority, scheme, routed)
    authority = _forwarded_port(headers, authority, scheme)
    return scheme, authority, route[0], ", ".join(route)


def _route_of(hops: list[str], peer: str) -> list[str]:
    """The client and the trusted proxies after it. The peer is a trusted proxy.

    A hop without an address ("unknown", an empty one) ends the list: who wrote what is before it is not known.
    """
    route = [peer]
    while hops and is_trusted_proxy(route[-1]) and (address := canonical_address(hops.pop())):
        route.append(address)
    return route[::-1]


def _forwarded_scheme(proto: str) -> str:
    try:
        return _SCHEMES[proto.lower()]  # RFC 3986 3.1: in any case
    except KeyError:
        raise FactsRefused(Reason.BAD_HEADER) from None


def _forwarded_host(headers: Headers, named: Authority, scheme: str, routed: RoutedHosts | None) -> Authority:
    """Many proxies pass on what the client wrote there, so it may not say what nobody serves.

    Nor may it lead a request for one served host to another: a cache in front keeps the answer under the first.
    """
    for value in _forwarded(headers, b"x-forwarded-host")[-1:]:
        forwarded = _authority(value.encode("latin-1"))
        if forwarded.host != named.host and not _may_replace(forwarded.host, named.host, routed):
            raise FactsRefused(Reason.BAD_HOST)
        if forwarded.port not in (None, named.port):
            _check_port(forwarded.effective_port(scheme), scheme)
        named = forwarded
    return named


def _forwarded_port(headers: Headers, authority: Authority, scheme: str) -> Authority:
    for value in _forwarded(headers, b"x-forwarded-port")[-1:]:
        if _PORT.fullmatch(value) is None:
            raise FactsRefused(Reason.BAD_HEADER)
        port = int(value)
        if authority.port is None and port != authority.effective_port(scheme):
            _check_port(port, scheme)
            authority = Authority(authority.host, port)
    return authority


def _may_replace(forwarded: str, named: str, routed: RoutedHosts | None) -> bool:
    if routed is None:
        return True  # without a policy nothing is let in anyway, and the answer says why
    # A proxy that leaves Host alone names its target there, often by loopback.
    named_by_visitor = not is_loopback(named) and _is_served(named, routed)
    return _is_served(forwarded, routed) and not named_by_visitor


def _is_served(host: str, routed: RoutedHosts) -> bool:
    return host in own_hosts() or routed.names_host(host)


def _check_port(port: int, scheme: str) -> None:
    """It becomes part of absolute URLs: only the scheme's own and the public URL's are known to be ours."""
    if port not in (public_port(), 443 if scheme == "https" else 80):
        raise FactsRefused(Reason.BAD_HEADER)


def _authority(raw: bytes) -> Authority:
    try:
        return parse_authority(raw)
    except HostRefused as error:
        raise FactsRefused(Reason.BAD_HOST) from error


def _forwarded(headers: Headers, wanted: bytes) -> list[str]:
    """All values of a list header in order. The nearest proxy's is the last: it alone is vouched for."""
    if wanted not in settings.AUTHGATE_FORWARDED_HEADERS:
        return []
    joined = b",".join(headers.values(wanted)).decode("latin-1")
    return [item.strip(" \t") for item in joined.split(",")] if joined else []
