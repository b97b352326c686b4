"""One complete request head becomes a RequestHead or is refused. Any doubt about framing is a refusal."""

from __future__ import annotations

import re

import httptools

from authgate.host import HostRefused, parse_authority
from gateway_site.http1.limits import Limits
from gateway_site.http1.refusal import Fault, RequestRefused

CHUNKED = -1  # RequestHead.length of a chunked body

_MEANINGFUL = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect", b"connection"))
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(/[^?]*)?(\?.*)?", re.IGNORECASE)
# What llhttp would take of a request line for the most common methods, and no more.
_REQUEST_LINE = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) ([!-~]+) HTTP/1\.1")
_OTHER_VERSION = re.compile(rb"[^\r\n]* HTTP/[0-9](?:\.[0-9])?\r\n")


class RequestHead:
    __slots__ = (
        "expects_continue", "headers", "keep_alive", "length", "method", "query_string", "raw_path", "version",
    )  # fmt: skip

    def __init__(self, method: str, version: str, headers: list[tuple[bytes, bytes]]) -> None:
        self.method = method
        self.version = version
        self.headers = headers
        self.keep_alive = version == "1.1"
        self.expects_continue = False
        self.length = 0
        self.raw_path = self.query_string = b""


class HeadParser:
    """httptools (llhttp) is given exactly one complete head at a time; the body never reaches it.

    So it never holds unfinished input, and a request behind this one cannot be parsed before its turn. Clients repeat
    their headers on a connection: a block that is byte for byte the last one means what that one meant.
    """

    __slots__ = ("_authority", "_block", "_complete", "_headers", "_limits", "_parser", "_target")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parser: httptools.HttpRequestParser | None = None
        self._block = b""  # from the end of the request line to the end of the head
        self._authority: bytes | None = None

    # -- callbacks of httptools -----------------------------------------------------------------------------

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        # White space around a value is not part of it (RFC 9112 5.1); llhttp leaves what is behind.
        self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self._complete = True

    # -------------------------------------------------------------------------------------------------------

    def parse(self, head: bytes) -> RequestHead:
        """Raises RequestRefused."""
        line_end = head.find(b"\r\n")
        if head[line_end:] == self._block:
            line = _REQUEST_LINE.fullmatch(head, 0, line_end)
            if line is not None:
                request = RequestHead(line[1].decode("ascii"), "1.1", self._headers)
                self._target = line[2]
                self._read_target(request, self._authority)
                return request
        self._block = b""
        method = self._run(head)
        version = _version(head, method, self._target)
        if len(self._headers) > self._limits.header_count:
            raise RequestRefused(Fault.TOO_MANY_HEADERS)
        request = RequestHead(method.decode("ascii"), version, self._headers)
        authority = _read_meaning(request)
        if method in (b"CONNECT", b"TRACE"):
            raise RequestRefused(Fault.BAD_METHOD)
        self._read_target(request, authority)
        if request.length or not request.keep_alive:
            self._parser = None  # it now waits for a body, or for the end, that it will not be shown
        elif self._parser is not None:
            self._block, self._authority = head[line_end:], authority
        return request

    def _run(self, head: bytes) -> bytes:
        parser = self._parser or httptools.HttpRequestParser(self)
        self._parser = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._target = b""
        self._complete = False
        try:
            parser.feed_data(head)
            self._parser = parser
        except httptools.HttpParserUpgrade:
            # We take no upgrade, so the header has no meaning (RFC 9110 7.8): the body is framed as always.
            pass
        except httptools.HttpParserError as error:
            raise RequestRefused(_fault_of(head)) from error
        if not self._complete:
            raise RequestRefused(_fault_of(head))
        method: bytes = parser.get_method()
        return method

    def _read_target(self, request: RequestHead, authority: bytes | None) -> None:
        target = self._target
        if len(target) > self._limits.target_bytes:
            raise RequestRefused(Fault.TARGET_TOO_LONG)
        # llhttp has refused controls and spaces. A fragment never travels, and who cuts it off sees another target
        # than who does not.
        if b"#" in target or not target.isascii():
            raise RequestRefused(Fault.BAD_TARGET)
        if not target.startswith(b"/"):
            target = _origin_form(target, authority)
        request.raw_path, _, request.query_string = target.partition(b"?")


def _fault_of(head: bytes) -> Fault:
    if _OTHER_VERSION.match(head) and b" HTTP/1." not in head[: head.find(b"\r\n")]:
        return Fault.HTTP_VERSION
    return Fault.BAD_REQUEST


def _version(head: bytes, method: bytes, target: bytes) -> str:
    """llhttp also takes HTTP/0.9, RTSP, ICE and more than one space: the line must be exactly what was understood."""
    start = b"%b %b HTTP/" % (method, target)
    if head.startswith(start):
        ending = head[len(start) : len(start) + 5]
        if ending == b"1.1\r\n":
            return "1.1"
        if ending == b"1.0\r\n":
            return "1.0"
    raise RequestRefused(_fault_of(head))


def _read_meaning(request: RequestHead) -> bytes | None:
    """Takes framing, Host, Expect and Connection from the headers; returns the Host."""
    host = length = coding = expect = None
    for name, value in request.headers:
        if name not in _MEANINGFUL:
            continue
        if name == b"host":
            if host is not None:
                raise RequestRefused(Fault.BAD_HOST)
            host = value
        elif name == b"content-length":
            if length is not None:
                raise RequestRefused(Fault.BAD_FRAMING)
            length = value
        elif name == b"transfer-encoding":
            if coding is not None:
                raise RequestRefused(Fault.BAD_FRAMING)
            coding = value
        elif name == b"expect":
            expect = value if expect is None else b"repeated"
        elif b"close" in [token.strip(b" \t") for token in value.lower().split(b",")]:
            request.keep_alive = False
    _check_host(host, request.version)
    request.length = _body_length(length, coding, request.version)
    if expect is not None and request.version == "1.1":
        if expect.lower() != b"100-continue":
            raise RequestRefused(Fault.UNKNOWN_EXPECTATION)
        request.expects_continue = request.length != 0
    return host


def _check_host(host: bytes | None, version: str) -> None:
    if host is None:
        if version == "1.0":
            return
        raise RequestRefused(Fault.BAD_HOST)
    try:
        parse_authority(host)
    except HostRefused as error:
        raise RequestRefused(Fault.BAD_HOST) from error


def _body_length(length: bytes | None, coding: bytes | None, version: str) -> int:
    if coding is not None:
        # Both lengths, a coding that HTTP/1.0 does not know, or more than one: request smuggling (RFC 9112 6.1).
        if length is not None or version == "1.0" or coding.lower() != b"chunked":
            raise RequestRefused(Fault.BAD_FRAMING)
        return CHUNKED
    if length is None:
        return 0
    if _LENGTH.fullmatch(length) is None:
        raise RequestRefused(Fault.BAD_FRAMING)
    return int(length)


def _origin_form(target: bytes, authority: bytes | None) -> bytes:
    """An absolute target must name the very Host of the request, so that nobody can prefer the other one."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None or authority is None or match[1].lower() != authority.lower():
        raise RequestRefused(Fault.BAD_TARGET)
    return (match[2] or b"/") + (match[3] or b"")
