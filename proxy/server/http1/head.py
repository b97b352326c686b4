"""One complete request head becomes a RequestHead or is refused. Any doubt about framing is a refusal."""

from __future__ import annotations

import re
from typing import NamedTuple

import httptools
import msgspec

from authgate.reason import Reason
from authgate.wire.authority import HostRefused, parse_authority
from authgate.wire.framing import CHUNKED, is_chunked
from authgate.wire.headers import Headers
from authgate.wire.websocket import names_another_protocol
from proxy.server import health
from proxy.server.http1.limits import Limits
from proxy.server.http1.refusal import RequestRefused

# llhttp reads Proxy-Connection as Connection, so we do: its state and ours are the same after each head.
_CONNECTION = frozenset((b"connection", b"proxy-connection"))
_MEANINGFUL = _CONNECTION | {b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade"}
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(/[^?]*)?(\?.*)?", re.IGNORECASE)
# What llhttp would take of a request line for the most common methods and a path, and no more. Never a fragment.
_REQUEST_LINE = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[!\"$->@-~]*)(\?[!\"$-~]*)? HTTP/1\.1")
_OTHER_VERSION = re.compile(rb"[^\r\n]* HTTP/[0-9](?:\.[0-9])?\r\n")


class RequestHead(msgspec.Struct, gc=False):
    method: str
    raw_path: bytes
    query: bytes  # with its "?", behind which there may be nothing
    headers: Headers
    version: str = "1.1"
    keep_alive: bool = True
    expects_continue: bool = False
    length: int = 0  # of the body, or CHUNKED


_KEPT_BYTES = 8192  # of a head, for as long as the connection is idle


class HeadParser:
    """httptools (llhttp) is given exactly one complete head at a time; the body never reaches it.

    So it never holds unfinished input, and a request behind this one cannot be parsed before its turn. Clients repeat
    their headers on a connection: a block that is byte for byte the last one means what that one meant.
    """

    __slots__ = ("_block", "_complete", "_headers", "_limits", "_longest_line", "_parser", "_target")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parser: httptools.HttpRequestParser | None = None
        self._longest_line = limits.target_bytes  # that need not be measured part by part
        self._target = b""
        self._headers = Headers()
        self._block = b""  # from the end of the request line to the end of the head

    # -- callbacks of httptools -----------------------------------------------------------------------------

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        # White space around a value is not part of it (RFC 9112 5.1); llhttp leaves what is behind.
        self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self._complete = True

    # -------------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """The parser of the connection, which refers back to this."""
        self._parser = None

    def repeated(self, head: bytes) -> RequestHead | None:
        """Of exactly one head, whose headers are the last one's. None says nothing about these bytes."""
        block = self._block
        if not block or not head.endswith(block):
            return None
        line_end = len(head) - len(block)
        line = _REQUEST_LINE.fullmatch(head, 0, line_end) if line_end <= self._longest_line else None
        if line is None:
            return None
        method, raw_path, query = line.groups(b"")
        return RequestHead(method.decode(), raw_path, query, self._headers)

    def parse(self, head: bytes) -> RequestHead:
        """Raises RequestRefused."""
        return self.repeated(head) or self._parse(head)

    def _parse(self, head: bytes) -> RequestHead:
        self._block = b""
        method = self._run(head)
        version = _version(head, method, self._target)
        headers = self._headers
        if len(headers) > self._limits.header_count:
            raise RequestRefused(Reason.TOO_MANY_HEADERS)
        meaning = _read_meaning(headers, version)
        if method in (b"CONNECT", b"TRACE"):
            raise RequestRefused(Reason.BAD_METHOD)
        target = self._read_target(meaning.host)
        raw_path = target.partition(b"?")[0]
        if meaning.host is None:
            health.add_host(headers, raw_path)
        if meaning.length or not meaning.keep_alive:
            self._parser = None  # it now waits for a body, or for the end, that it will not be shown
        elif self._parser is not None and len(head) <= _KEPT_BYTES:
            self._block = head[head.find(b"\r\n") :]
        if not self._block:
            self._headers = Headers()  # an idle connection would keep them, and what was made of them
        return RequestHead(
            method.decode("ascii"), raw_path, target[len(raw_path) :], headers, version, meaning.keep_alive,
            meaning.expects_continue, meaning.length,
        )  # fmt: skip

    def _run(self, head: bytes) -> bytes:
        parser = self._parser or httptools.HttpRequestParser(self)
        self._parser = None
        self._headers = Headers()
        self._target = b""
        self._complete = False
        try:
            parser.feed_data(head)
            self._parser = parser
        except httptools.HttpParserUpgrade:
            # We take no upgrade, so the header has no meaning (RFC 9110 7.8): the body is framed as always.
            pass
        except httptools.HttpParserError as error:
            raise RequestRefused(_reason_of(head)) from error
        if not self._complete:
            raise RequestRefused(_reason_of(head))
        method: bytes = parser.get_method()
        return method

    def _read_target(self, authority: bytes | None) -> bytes:
        """In origin form: path and query."""
        target = self._target
        if len(target) > self._limits.target_bytes:
            raise RequestRefused(Reason.TARGET_TOO_LONG)
        # llhttp has refused controls and spaces. A fragment never travels, and who cuts it off sees another target
        # than who does not.
        if b"#" in target or not target.isascii():
            raise RequestRefused(Reason.BAD_TARGET, "the target has a # or a byte outside ASCII")
        return target if target.startswith(b"/") else _origin_form(target, authority)


def _reason_of(head: bytes) -> Reason:
    if _OTHER_VERSION.match(head) and b" HTTP/1." not in head[: head.find(b"\r\n")]:
        return Reason.HTTP_VERSION
    return Reason.BAD_REQUEST


def _version(head: bytes, method: bytes, target: bytes) -> str:
    """llhttp also takes HTTP/0.9, RTSP, ICE and more than one space: the line must be exactly what was understood."""
    start = b"%b %b HTTP/" % (method, target)
    if head.startswith(start):
        ending = head[len(start) : len(start) + 5]
        if ending == b"1.1\r\n":
            return "1.1"
        if ending == b"1.0\r\n":
            return "1.0"
    raise RequestRefused(_reason_of(head))


class _Meaning(NamedTuple):
    """What the headers say about this very exchange."""

    host: bytes | None
    length: int
    keep_alive: bool
    expects_continue: bool


def _read_meaning(headers: Headers, version: str) -> _Meaning:
    host = length = coding = expect = None
    keep_alive = version == "1.1"
    for name, value in headers:
        if name not in _MEANINGFUL:
            continue
        if name == b"host":
            if host is not None:
                raise RequestRefused(Reason.BAD_HOST)
            host = value
        elif name == b"content-length":
            if length is not None:
                raise RequestRefused(Reason.BAD_FRAMING)
            length = value
        elif name == b"transfer-encoding":
            if coding is not None:
                raise RequestRefused(Reason.BAD_FRAMING)
            coding = value
        elif name == b"expect":
            expect = value if expect is None else b"repeated"
        elif name == b"upgrade":
            # Whoever carries bytes unread from here on, such as a cache that pipes, would carry another request, past
            # its own rules: so nothing behind this one is a request.
            keep_alive = keep_alive and not names_another_protocol((value,))
        elif b"close" in [token.strip(b" \t") for token in value.lower().split(b",")]:
            keep_alive = False
    _check_host(host, version)
    body_length = _body_length(length, coding, version)
    expects_continue = False
    if expect is not None and version == "1.1":
        if expect.lower() != b"100-continue":
            raise RequestRefused(Reason.UNKNOWN_EXPECTATION)
        expects_continue = body_length != 0
    return _Meaning(host, body_length, keep_alive, expects_continue)


def _check_host(host: bytes | None, version: str) -> None:
    if host is None:
        if version == "1.0":
            return
        raise RequestRefused(Reason.BAD_HOST)
    try:
        parse_authority(host)
    except HostRefused as error:
        raise RequestRefused(Reason.BAD_HOST) from error


def _body_length(length: bytes | None, coding: bytes | None, version: str) -> int:
    if coding is not None:
        # Both lengths, a coding that HTTP/1.0 does not know, or more than one: request smuggling (RFC 9112 6.1).
        if length is not None or version == "1.0" or not is_chunked(coding):
            raise RequestRefused(Reason.BAD_FRAMING)
        return CHUNKED
    if length is None:
        return 0
    if _LENGTH.fullmatch(length) is None:
        raise RequestRefused(Reason.BAD_FRAMING)
    return int(length)


def _origin_form(target: bytes, authority: bytes | None) -> bytes:
    """An absolute target must name the very Host of the request, so that nobody can prefer the other one."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None or authority is None or match[1].lower() != authority.lower():
        raise RequestRefused(Reason.BAD_TARGET, "the target is no path, and no http address of the Host header")
    return (match[2] or b"/") + (match[3] or b"")
