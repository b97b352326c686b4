"""An upstream that records the exact bytes it received and answers with the exact bytes it was told to."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

KEPT_BODY_BYTES = 1 << 22
OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"ok": true}'


@dataclass(eq=False)
class RecordedRequest:
    head: bytes  # request line and headers as received, without the final empty line
    connection: int  # requests with the same number came on the same connection
    body: bytearray = field(default_factory=bytearray)  # decoded; at most KEPT_BODY_BYTES
    raw_body: bytearray = field(default_factory=bytearray)  # with its chunk framing
    body_length: int = 0
    complete: bool = False

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode("latin-1")

    @property
    def target(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0].split(b" ", 1)[1].rsplit(b" ", 1)[0]

    @property
    def path(self) -> bytes:
        return self.target.split(b"?", 1)[0]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """As received, names in their own spelling."""
        pairs = (line.partition(b":") for line in self.head.split(b"\r\n")[1:])
        return [(name, value.strip(b" \t")) for name, _, value in pairs]

    def all(self, name: str) -> list[str]:
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    def _keep(self, decoded: bytes, raw: bytes) -> None:
        self.body_length += len(decoded)
        self.body += decoded[: KEPT_BODY_BYTES - len(self.body)]
        self.raw_body += raw[: KEPT_BODY_BYTES - len(self.raw_body)]


class UpstreamConnection:
    """What a scripted reply gets: the socket, and the request's body still unread until it asks for it."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.socket, self.number = sock, number
        self.buffer = b""
        self.keep_alive = False  # a callable reply sets it to have the connection go on

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def wait_closed(self, timeout: float = 10.0) -> bool:
        """Read and drop until the gateway closes; False when it does not in time."""
        self.socket.settimeout(timeout)
        try:
            while self.socket.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def read_body(self, request: RecordedRequest) -> None:
        """Read the body the head announced, recording as it comes."""
        if [value.lower() for value in request.all("transfer-encoding")] == ["chunked"]:
            self._read_chunked(request)
        else:
            left = int((request.all("content-length") or ["0"])[0])
            while left:
                data = self._take(left)
                request._keep(data, data)
                left -= len(data)
        request.complete = True

    def read_head(self) -> bytes | None:
        """None when the gateway closed between requests."""
        while b"\r\n\r\n" not in self.buffer:
            data = self.socket.recv(65536)
            if not data:
                if self.buffer:
                    raise ConnectionError("closed in the middle of a request head")
                return None
            self.buffer += data
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return head

    def _read_chunked(self, request: RecordedRequest) -> None:
        while size := self._chunk_size(request):
            while size:
                data = self._take(size)
                request._keep(data, data)
                size -= len(data)
            request._keep(b"", self._line() + b"\r\n")
        while trailer := self._line():
            request._keep(b"", trailer + b"\r\n")
        request._keep(b"", b"\r\n")

    def _chunk_size(self, request: RecordedRequest) -> int:
        line = self._line()
        request._keep(b"", line + b"\r\n")
        return int(line.split(b";", 1)[0], 16)

    def _line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            self._fill()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def _take(self, at_most: int) -> bytes:
        if not self.buffer:
            self._fill()
        data, self.buffer = self.buffer[:at_most], self.buffer[at_most:]
        return data

    def _fill(self) -> None:
        data = self.socket.recv(262144)
        if not data:
            raise ConnectionError("closed in the middle of a request body")
        self.buffer += data


Handler = Callable[[UpstreamConnection, RecordedRequest], None]
Reply = bytes | Handler


class RecordingUpstream:
    """Listens on 127.0.0.1, or on `unix_path`; with `tls`, speaks TLS.

    `reply(answer)` sets the answer to everything, `reply(answer, path="/x")` to one path (without query).
    Bytes are sent after the whole request was read; the connection stays open when they are self-framed.
    A callable gets (connection, request) right after the head and reads the body itself if it wants to.
    """

    def __init__(
        self,
        *,
        unix_path: Path | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
    ) -> None:
        family = socket.AF_INET if unix_path is None else socket.AF_UNIX
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, port) if unix_path is None else str(unix_path))
        self._listener.listen(1024)
        self._tls = tls
        self._lock = threading.Condition()
        self._replies: dict[bytes | None, Reply] = {}
        self._open: set[socket.socket] = set()
        self.requests: list[RecordedRequest] = []
        self.connections = 0
        self.errors: list[BaseException] = []
        if unix_path is None:
            self.port = self._listener.getsockname()[1]
            self.target = f"http{'s' if tls else ''}://{host}:{self.port}"
        else:
            self.port, self.target = 0, f"unix:{unix_path}"
        self._thread = threading.Thread(target=self._accept, name="upstream", daemon=True)
        self._thread.start()

    # --- what tests say and ask --------------------------------------------------------------------------
    def reply(self, answer: Reply, *, path: str | bytes | None = None) -> None:
        key = path.encode() if isinstance(path, str) else path
        with self._lock:
            self._replies[key] = answer

    def clear(self) -> None:
        """Forget what was recorded and scripted, and close kept connections: the next test starts even."""
        with self._lock:
            self._replies.clear()
            self.requests.clear()
            self.errors.clear()
            for sock in self._open:
                _shut(sock)

    def wait(self, count: int = 1, timeout: float = 5.0, *, complete: bool = False) -> list[RecordedRequest]:
        """The first `count` requests, once their heads (or whole messages) have come."""
        deadline = time.monotonic() + timeout
        with self._lock:
            while len(self.requests) < count or (complete and not all(r.complete for r in self.requests[:count])):
                left = deadline - time.monotonic()
                assert left > 0, f"{len(self.requests)} of {count} requests reached the upstream in {timeout} s"
                self._lock.wait(min(left, 0.05))
            return self.requests[:count]

    @property
    def only(self) -> RecordedRequest:
        """The one request that came."""
        self.wait(1)
        assert len(self.requests) == 1, [request.head for request in self.requests]
        return self.requests[0]

    def stop(self) -> None:
        _shut(self._listener)
        with self._lock:
            for sock in self._open:
                _shut(sock)
        self._thread.join(5)
        self._listener.close()

    def __enter__(self) -> RecordingUpstream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # --- serving -----------------------------------------------------------------------------------------
    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            number = self.connections
            threading.Thread(target=self._serve, args=(sock, number), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with self._lock:
            self._open.add(sock)
        raw = sock
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            connection = UpstreamConnection(sock, number)
            while (head := connection.read_head()) is not None:
                if not self._answer(connection, head):
                    return
        except (OSError, ValueError) as error:
            self.errors.append(error)
        finally:
            with self._lock:
                self._open.discard(raw)
            sock.close()

    def _answer(self, connection: UpstreamConnection, head: bytes) -> bool:
        request = RecordedRequest(head, connection.number)
        with self._lock:
            self.requests.append(request)
            answer = self._replies.get(request.path, self._replies.get(None, OK))
            self._lock.notify_all()
        if isinstance(answer, bytes):
            connection.read_body(request)
            with self._lock:
                self._lock.notify_all()
            connection.send(answer)
            return _is_self_framed(answer, request.method)
        connection.keep_alive = False
        answer(connection, request)
        return connection.keep_alive


def _is_self_framed(answer: bytes, method: str) -> bool:
    head = answer.split(b"\r\n\r\n", 1)[0].lower()
    if b"\r\nconnection: close" in head:
        return False
    bodiless = method == "HEAD" or head[9:12] in (b"204", b"304")
    return bodiless or b"\r\ncontent-length:" in head or b"\r\ntransfer-encoding:" in head


def _shut(sock: socket.socket) -> None:
    # Not close(): another thread is blocked in it, and the number could be another file's a moment later.
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
