"""Upstream answers that tests of the upstream side share."""

from __future__ import annotations

import socket
import threading

from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.upstream import OK, RecordedRequest, RecordingUpstream, UpstreamConnection


def answer(
    *fields: str, body: bytes = b"", status: str = "200 OK", version: str = "HTTP/1.1", length: bool | None = None
) -> bytes:
    """The bytes of an answer; Content-Length is added unless the fields frame it or `length` is False."""
    names = {field.partition(":")[0].strip().lower() for field in fields}
    lines = [f"{version} {status}", *fields]
    if length or (length is None and not names & {"content-length", "transfer-encoding"}):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def send_at_once(connection: UpstreamConnection) -> None:
    """Without it, Nagle's algorithm holds a small piece back until the one before it is acknowledged."""
    if connection.socket.family == socket.AF_INET:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Script:
    """Sends these bytes, each piece in its own segment, and then waits for the gateway to close."""

    def __init__(self, *pieces: bytes, delay: float = 0.02, read_body: bool = True) -> None:
        self._pieces = pieces
        self._delay = delay
        self._read_body = read_body
        self.sent = threading.Event()  # all of it has reached the gateway's socket
        self.closed = threading.Event()  # the gateway has closed the connection

    def __call__(self, connection: UpstreamConnection, request: RecordedRequest) -> None:
        send_at_once(connection)
        if self._read_body:
            connection.read_body(request)
        for number, piece in enumerate(self._pieces):
            if number:
                threading.Event().wait(self._delay)
            try:
                connection.send(piece)
            except OSError:
                break
        self.sent.set()
        if connection.wait_closed(8):
            self.closed.set()


class Kept(Script):
    """Sends these bytes and reads the next request on the same connection."""

    def __call__(self, connection: UpstreamConnection, request: RecordedRequest) -> None:
        send_at_once(connection)
        connection.read_body(request)
        connection.send(b"".join(self._pieces))
        connection.keep_alive = True


class ThenClose(Script):
    """Sends these bytes and closes, with RST if `reset`."""

    def __init__(self, *pieces: bytes, reset: bool = False, delay: float = 0.02) -> None:
        super().__init__(*pieces, delay=delay)
        self._reset = reset

    def __call__(self, connection: UpstreamConnection, request: RecordedRequest) -> None:
        send_at_once(connection)
        connection.read_body(request)
        for number, piece in enumerate(self._pieces):
            if number:
                threading.Event().wait(self._delay)
            connection.send(piece)
        if self._reset:
            threading.Event().wait(self._delay)  # or the RST would overtake what was sent
            connection.reset()
        else:
            connection.close()
        self.sent.set()


def keep_connection(gateway: Gateway, upstream: RecordingUpstream, path: str = "/api/public/warm") -> None:
    """Leave the gateway with a kept connection: requests over one take another way through it."""
    upstream.reply(Kept(answer()))
    assert gateway.get(path).status == 200
    upstream.requests.clear()
    upstream.reply(OK)


def assert_refusal(response: raw.Response, status: int) -> None:
    """The contract's JSON for a failure of the upstream."""
    word, reasons = {
        502: ("bad_gateway", {"upstream_broken", "upstream_unreachable"}),
        504: ("gateway_timeout", {"upstream_timeout"}),
    }[status]
    assert response.status == status, response
    assert response.header("content-type") == "application/json"
    document = response.json()
    assert set(document) == {"error", "message", "reason", "request_id"}
    assert document["error"] == word
    assert document["reason"] in reasons
    assert document["request_id"] == response.header("x-request-id")
