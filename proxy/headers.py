"""What the upstream is told: hop-by-hop out, identity and forwarded in. And what both directions share. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from authgate.gate.destination import DESTINED, destination_of
from authgate.policy.table import RouteEntry, service_path, stripped_prefix
from authgate.request import RequestFacts
from authgate.wire.authority import Authority
from authgate.wire.framing import CHUNKED_LINE, HOP_BY_HOP, is_chunked, is_length
from authgate.wire.headers import Headers, RawHeaders
from authgate.wire.identity_headers import client_may_send
from authgate.wire.own_cookies import OwnCookies
from authgate.wire.trace_context import read_trace

# Content-Length and Host are ours to write.
_NOT_FORWARDED = HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"expect",
    b"authorization",
    b"dpop",
    b"destination",
    b"traceparent",
}
_METHODS_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))


class BadFraming(ValueError):
    """The length of the body is in doubt."""


@lru_cache(maxsize=512)  # of up to 16 KiB each, and the client chooses them
def _is_forwarded(name: bytes) -> bool:
    return name not in _NOT_FORWARDED and client_may_send(name)


def request_body_length(headers: RawHeaders) -> int | None:
    """Bytes of the request body; 0 when there is none; None when it is chunked. Raises BadFraming."""
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if not lengths and not codings:
        return 0
    if codings:
        if lengths or len(codings) != 1 or not is_chunked(codings[0]):
            raise BadFraming
        return None
    if len(lengths) != 1 or not is_length(lengths[0]):
        raise BadFraming
    return int(lengths[0])


def request_head(
    facts: RequestFacts,
    entry: RouteEntry,
    target_host: str,
    body_length: int | None,
    identity_block: bytes,
    request_id: str,
    traceparent: bytes,
    own_cookies: OwnCookies,
) -> bytes:
    """The request as the upstream receives it, up to the empty line. `body_length` as in request_body_length."""
    headers = facts.headers
    made_from = (entry, target_host, facts.scheme, facts.authority, facts.client, facts.forwarded_for)
    lines = headers.upstream_lines
    if lines is None or lines[0] != made_from:
        lines = headers.upstream_lines = (made_from, _upstream_lines(headers, own_cookies, *made_from))
    route, path = entry.route, facts.path
    if route.strip_prefix or route.add_prefix:
        path = service_path(route, path)
    framing = b""
    if facts.method in DESTINED:
        framing = _destination_line(facts, entry)
    if facts.wants_upgrade:
        framing += b"connection: Upgrade\r\nupgrade: websocket\r\n"
    elif body_length is None:
        framing += CHUNKED_LINE
    elif body_length or facts.method in _METHODS_WITH_BODY:
        framing += b"content-length: %d\r\n" % body_length
    return b"".join(
        (
            f"{facts.method} {path}".encode("ascii"), facts.query, lines[1], framing,
            identity_block, b"traceparent: ", traceparent,
            b"\r\nx-request-id: ", request_id.encode("ascii"), b"\r\n\r\n",
        )
    )  # fmt: skip


def _destination_line(facts: RequestFacts, entry: RouteEntry) -> bytes:
    """As a path, so that the service need not know any of its addresses (RFC 4918 10.3). The gate has looked at it."""
    path = destination_of(facts)
    return b"" if path is None else f"destination: {service_path(entry.route, path)}\r\n".encode("ascii")


def _upstream_lines(
    headers: Headers,
    own_cookies: OwnCookies,
    entry: RouteEntry,
    target_host: str,
    scheme: str,
    authority: Authority,
    client: str,
    forwarded_for: str,
) -> bytes:
    """From the end of the target on, what does not depend on the request line, the body or the moment."""
    host = str(authority) if entry.route.preserve_host else entry.route.upstream_host or target_host
    parts = [b" HTTP/1.1\r\nhost: ", host.encode("ascii"), b"\r\n"]
    if entry.mcp is not None:
        parts.append(b"accept-encoding: identity\r\n")  # what lists tools is read here
    listed = connection_options(headers.values(b"connection"))
    unsendable = entry.unsendable
    for name, value in [pair for pair in headers if pair[0] not in unsendable] if unsendable else headers:
        if not _is_forwarded(name):
            if not _is_passed(name, value, entry):
                continue
        elif name == b"tracestate" and read_trace(headers) is None:
            continue  # it says nothing without the trace (W3C Trace Context, 3.3)
        elif name == b"accept-encoding" and entry.mcp is not None:
            continue
        elif name == b"cookie":
            value = own_cookies.take_out(value)
            if not value:
                continue
        if name not in listed or name == b"depth":  # which the gate has decided by
            parts += (name, b": ", value, b"\r\n")
    parts.append(entry.request_lines)
    parts.append(
        _forwarded_block(scheme, str(authority), authority.effective_port(scheme), stripped_prefix(entry.route))
    )
    parts.append(_client_block(client, forwarded_for))
    return b"".join(parts)


def _is_passed(name: bytes, value: bytes, entry: RouteEntry) -> bool:
    """Whether the route lets through what is otherwise not forwarded."""
    if name == b"authorization":
        return entry.route.pass_authorization and not _is_for_connection(value)
    if name == b"dpop" and entry.route.pass_authorization:
        return True  # the proof belongs to the token
    return name in entry.pass_headers


def _is_for_connection(authorization: bytes) -> bool:
    """NTLM and Negotiate sign a whole connection in (RFC 4559 6), and the next request on it may be anybody's."""
    return authorization[:9].lower().startswith((b"ntlm", b"negotiate"))


@lru_cache(maxsize=1024)
def _forwarded_block(scheme: str, authority: str, port: int, prefix: str) -> bytes:
    return (
        f"x-forwarded-proto: {scheme}\r\nx-forwarded-host: {authority}\r\n"
        f"x-forwarded-port: {port}\r\nx-forwarded-prefix: {prefix}\r\n"
    ).encode("ascii")


@lru_cache(maxsize=4096)
def _client_block(client: str, forwarded_for: str) -> bytes:
    return f"x-real-ip: {client}\r\nx-forwarded-for: {forwarded_for}\r\n".encode("ascii")


_NOTHING: frozenset[bytes] = frozenset()


def connection_options(values: Sequence[bytes]) -> frozenset[bytes]:
    """Names that Connection headers declare to be hop-by-hop (RFC 9110 7.6.1)."""
    if not values or (values[0] == b"keep-alive" and len(values) == 1):
        return _NOTHING
    return frozenset(option.strip().lower() for value in values for option in value.split(b","))
