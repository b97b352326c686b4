"""HTTP/2 as exactly the frames a test wants, and many streams on one connection."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
_INITIAL_WINDOW = 4  # the setting
_FRAME_BYTES = 16 * 1024


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def text(value: str) -> bytes:
    """A string of HPACK (RFC 7541 5.1, 5.2)."""
    length, left = b"", len(value)
    if left >= 127:
        length, left = b"\x7f", left - 127
        while left >= 128:
            length, left = length + bytes((left % 128 + 128,)), left // 128
    return length + bytes((left,)) + value.encode()


def head(
    path: str = "/open/x",
    method: str = "GET",
    *fields: tuple[str, str],
    authority: str = "localhost",
    scheme: str = "http",
) -> bytes:
    """As literals without indexing or Huffman coding (RFC 7541 6.2.2)."""
    pseudo = [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority)]
    return b"".join(b"\0" + text(name) + text(value) for name, value in (*pseudo, *fields))


class Http2Client:
    """One connection. A thread reads what comes, and keeps to how much the server lets us send."""

    def __init__(self, address: tuple[str, int], *, window: int = 65535) -> None:
        """`window`: how much of each answer is taken."""
        self.answers: dict[int, bytes] = {}  # by stream, from its head on
        self.ended: set[int] = set()
        self._streams = 0
        self._windows: dict[int, int] = {0: 65535}
        self._first_window = 65535
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._socket = socket.create_connection(address, 10)
        self._send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self._send(frame(SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW, window)))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        # Streams begin with what the server's settings give them.
        assert self.wait_for(lambda: self._first_window != 65535)

    def __enter__(self) -> Http2Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join(10)
        self._socket.close()

    def open(self, block: bytes, *, end: bool) -> int:
        """The new stream."""
        stream, self._streams = 2 * self._streams + 1, self._streams + 1
        self._windows[stream] = self._first_window
        self._send(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block))
        return stream

    def send_body(self, stream: int, data: bytes) -> None:
        """As much as the server takes before it ends the stream."""
        for start in range(0, len(data), _FRAME_BYTES):
            piece = data[start : start + _FRAME_BYTES]
            with self._changed:
                assert self._changed.wait_for(partial(self._may_send, stream, len(piece)), 10)
                if stream in self.ended:
                    return
                self._windows[0] -= len(piece)
                self._windows[stream] -= len(piece)
            self._send(frame(DATA, 0, stream, piece))

    def finish(self, stream: int) -> None:
        """The end of its body."""
        self._send(frame(DATA, END_STREAM, stream))

    def wait_for(self, condition: Callable[[], bool], timeout: float = 10) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def reasons(self) -> list[str]:
        """Of the refusals among the whole answers."""
        return [json.loads(self.answers[stream])["reason"] for stream in sorted(self.ended & {*self.answers})]

    def _may_send(self, stream: int, size: int) -> bool:
        return stream in self.ended or min(self._windows[0], self._windows[stream]) >= size

    def _send(self, data: bytes) -> None:
        with self._writing:
            self._socket.sendall(data)

    def _read(self) -> None:
        stream = self._socket.makefile("rb")
        try:
            while start := stream.read(9):
                payload = stream.read(int.from_bytes(start[:3], "big"))
                with self._changed:
                    self._take(start[3], start[4], int.from_bytes(start[5:9], "big"), payload)
                    self._changed.notify_all()
        except OSError:
            pass  # closed

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            self._windows[stream] = self._windows.get(stream, 0) + int.from_bytes(payload, "big")
        elif kind == SETTINGS and not flags & ACK:
            settings = dict(struct.iter_unpack(">HI", payload))
            self._first_window = settings.get(_INITIAL_WINDOW, self._first_window)
            self._send(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self._send(frame(PING, ACK, 0, payload))
        elif kind in (HEADERS, DATA):
            self.answers[stream] = self.answers.get(stream, b"") + (payload if kind == DATA else b"")
        if kind in (RST_STREAM, GOAWAY) or (kind in (HEADERS, DATA) and flags & END_STREAM):
            self.ended.add(stream)
