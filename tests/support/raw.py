"""A client that sends exactly the bytes it is given and reads answers strictly, without any HTTP library."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

TIMEOUT = 10.0
TOKEN_BYTES = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

Headers = Iterable[tuple[str, str]]


class ProtocolViolation(AssertionError):
    """The peer sent something HTTP/1.1 does not allow."""


class Truncated(AssertionError):
    """The peer closed before its message was complete; `.response` holds what came, if a head came."""

    def __init__(self, message: str, response: Response | None = None) -> None:
        super().__init__(message)
        self.response = response


@dataclass
class Response:
    status: int
    reason: str
    version: str
    headers: list[tuple[str, str]]
    raw_head: bytes
    body: bytes = b""
    framing: str = "none"  # none, length, chunked or close
    trailers: list[tuple[str, str]] = field(default_factory=list)
    interim: list[Response] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def header(self, name: str) -> str | None:
        """The only value of a header; None when absent, an error when repeated."""
        values = self.all(name)
        if len(values) > 1:
            raise ProtocolViolation(f"{name} came {len(values)} times")
        return values[0] if values else None

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


def request(
    method: str = "GET",
    target: str | bytes = "/",
    headers: Headers = (),
    body: bytes | None = None,
    *,
    host: str | None = "localhost",
    token: str | None = None,
) -> bytes:
    """The bytes of a plain request; Content-Length is added for a body unless the headers frame it."""
    lines = [f"{method} ".encode() + (target if isinstance(target, bytes) else target.encode()) + b" HTTP/1.1"]
    fields = [*headers]
    if host is not None:
        fields.insert(0, ("Host", host))
    if token is not None:
        fields.append(("Authorization", f"Bearer {token}"))
    names = {name.lower() for name, _ in fields}
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        fields.append(("Content-Length", str(len(body))))
    lines += [f"{name}: {value}".encode("latin-1") for name, value in fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


class RawClient:
    """One connection. Every read is bounded by `timeout`."""

    def __init__(
        self,
        address: tuple[str, int] | str,
        *,
        tls: ssl.SSLContext | None = None,
        server_hostname: str = "localhost",
        timeout: float = TIMEOUT,
        receive_buffer: int | None = None,
        source: str | None = None,
        segment: int | None = None,
    ) -> None:
        """`segment`: as small as on a real network, for which the kernel keeps less than on loopback."""
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if segment is not None:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        try:
            if source is not None:
                self.socket.bind((source, 0))
            self.socket.connect(address)
            if family == socket.AF_INET:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname=server_hostname)
        except BaseException:
            self.socket.close()
            raise
        self.buffer = b""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- sending -----------------------------------------------------------------------------------------
    def send(self, data: bytes) -> RawClient:
        self.socket.sendall(data)
        return self

    def dribble(self, data: bytes, *, size: int = 1, delay: float = 0.001) -> RawClient:
        """A few bytes at a time, each in its own segment."""
        for start in range(0, len(data), size):
            self.socket.sendall(data[start : start + size])
            time.sleep(delay)
        return self

    def half_close(self) -> RawClient:
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    # --- reading -----------------------------------------------------------------------------------------
    def response(self, method: str = "GET") -> Response:
        """The next final response; 1xx responses before it are in `.interim`."""
        interim: list[Response] = []
        while True:
            response = self.read_head()
            if response.status >= 200 or response.status == 101:
                break
            interim.append(response)
        response.interim = interim
        self._read_body(response, method)
        return response

    def responses(self, count: int) -> list[Response]:
        return [self.response() for _ in range(count)]

    def read_head(self) -> Response:
        while b"\r\n\r\n" not in self.buffer:
            if len(self.buffer) > 1 << 20:
                raise ProtocolViolation("response head over 1 MiB")
            if not self._fill():
                raise Truncated(f"closed before a complete response head: {self.buffer[:200]!r}")
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return parse_head(head)

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        while len(self.buffer) < count:
            if not self._fill():
                raise Truncated(f"closed {count - len(self.buffer)} bytes early")
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def read_some(self) -> bytes:
        """What is there, waiting for at least one byte; empty at the end."""
        if not self.buffer:
            self._fill()
        data, self.buffer = self.buffer, b""
        return data

    def read_line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            if not self._fill():
                raise Truncated("closed in the middle of a line")
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def read_chunk(self) -> bytes:
        """One chunk of a chunked body; empty for the last one (trailers are left unread)."""
        size = self.read_line().split(b";", 1)[0]
        if not size or size.strip(b"0123456789abcdefABCDEF"):
            raise ProtocolViolation(f"bad chunk size {size!r}")
        data = self.read(int(size, 16))
        if data and self.read(2) != b"\r\n":
            raise ProtocolViolation("a chunk does not end with CRLF")
        return data

    def read_all(self) -> bytes:
        """Everything until the peer closes or resets."""
        while self._fill():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def is_closed(self, timeout: float = 10.0) -> bool:
        """Whether the peer closes within `timeout` without sending another byte.

        By default longer than a server waits for a silent client (5 s).
        """
        self.socket.settimeout(timeout)
        try:
            return not self.buffer and not self._fill()
        except TimeoutError:
            return False

    def _fill(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
            return False
        self.buffer += data
        return bool(data)

    def _read_body(self, response: Response, method: str) -> None:
        response.framing = _framing(response, method)
        if response.framing == "length":
            self._read_by_length(response)
        elif response.framing == "chunked":
            self._read_chunked(response)
        elif response.framing == "close":
            response.body = self.read_all()

    def _read_by_length(self, response: Response) -> None:
        wanted = int(response.header("content-length") or "")
        parts, have = [self.buffer[:wanted]], min(wanted, len(self.buffer))
        self.buffer = self.buffer[wanted:]
        while have < wanted:
            part = self.read_some()
            if not part:
                response.body = b"".join(parts)
                raise Truncated(f"body has {have} of {wanted} bytes", response)
            self.buffer = part[wanted - have :]
            parts.append(part[: wanted - have])
            have += len(parts[-1])
        response.body = b"".join(parts)

    def _read_chunked(self, response: Response) -> None:
        parts: list[bytes] = []
        try:
            while chunk := self.read_chunk():
                parts.append(chunk)
            while line := self.read_line():
                response.trailers.append(_parse_field(line))
        except Truncated as error:
            error.response = response
            raise
        finally:
            response.body = b"".join(parts)


def parse_head(head: bytes) -> Response:
    status_line, *lines = head.split(b"\r\n")
    version, _, rest = status_line.partition(b" ")
    code, _, reason = rest.partition(b" ")
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or len(code) != 3 or not code.isdigit():
        raise ProtocolViolation(f"bad status line {status_line!r}")
    fields = [_parse_field(line) for line in lines]
    return Response(int(code), reason.decode("latin-1"), version.decode(), fields, head)


def _parse_field(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    if not colon or not name or not TOKEN_BYTES.issuperset(name) or b"\r" in value or b"\n" in value or b"\0" in value:
        raise ProtocolViolation(f"bad header line {line!r}")
    return name.decode().lower(), value.strip(b" \t").decode("latin-1")


def _framing(response: Response, method: str) -> str:
    encodings, lengths = response.all("transfer-encoding"), response.all("content-length")
    if encodings and lengths:
        raise ProtocolViolation("Transfer-Encoding and Content-Length together")
    if len(lengths) > 1 or any(not length.isascii() or not length.isdigit() for length in lengths):
        raise ProtocolViolation(f"bad Content-Length {lengths!r}")
    if method == "HEAD" or response.status in (204, 304) or response.status < 200:
        return "none"
    if encodings:
        if encodings != ["chunked"]:
            raise ProtocolViolation(f"unknown Transfer-Encoding {encodings!r}")
        return "chunked"
    return "length" if lengths else "close"


def exchange(address: tuple[str, int] | str, data: bytes, method: str | None = None, **options: Any) -> Response:
    """Send the bytes on a new connection, read one response, close."""
    with RawClient(address, **options) as client:
        client.send(data)
        return client.response(method or data.split(b" ", 1)[0].decode("latin-1"))
