"""A service that echoes WebSocket messages, and sends events to all who listen: `python -m benchmarks.talker PORT`.

`GET /events` is an event stream; `POST /events/N` sends N events to every one, a moment apart. All else is answered
with a few bytes, when its body is here.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import sys

import uvloop

EVENT = b"data: " + b"x" * 91 + b"\n\n"
_CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_LENGTH = re.compile(rb"(?im)^content-length: *(\d+)")
_KEY = re.compile(rb"(?im)^sec-websocket-key: *(\S+)")

streams: set[asyncio.Transport] = set()


class Talker(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.buffer = b""
        self.speaks_frames = False

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.speaks_frames:
            self._echo()
        else:
            while (head := self._whole_request()) and not self.speaks_frames:
                self._answer(head)

    def _whole_request(self) -> bytes:
        """Its head."""
        head, complete, rest = self.buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        size = int(length[1]) if length is not None else 0
        if not complete or len(rest) < size:
            return b""
        self.buffer = rest[size:]
        return head

    def connection_lost(self, exc: Exception | None) -> None:
        streams.discard(self.transport)

    def _answer(self, head: bytes) -> None:
        key = _KEY.search(head)
        if key is not None:
            accept = base64.b64encode(hashlib.sha1(key[1] + _GUID, usedforsecurity=False).digest())
            upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
            self.transport.write(b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade % accept)
            self.speaks_frames = True
        elif b"/events" not in head.partition(b"\r\n")[0]:
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n")
        elif head.startswith(b"GET "):
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            streams.add(self.transport)
        else:
            self._task = asyncio.ensure_future(self._broadcast(int(head.split(b" ", 2)[1].rpartition(b"/")[2])))

    async def _broadcast(self, count: int) -> None:
        for _ in range(count):
            for stream in streams:
                stream.write(_CHUNK)
            await asyncio.sleep(0)
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def _echo(self) -> None:
        """Text frames of clients, which are masked and have less than 126 bytes."""
        answers = []
        while len(self.buffer) >= 2 and len(self.buffer) >= (whole := 6 + (self.buffer[1] & 0x7F)):
            mask, payload = self.buffer[2:6], self.buffer[6:whole]
            size = len(payload)
            pad = (mask * (size // 4 + 1))[:size]
            text = (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(size)
            answers.append(bytes((0x81, size)) + text)
            self.buffer = self.buffer[whole:]
        self.transport.write(b"".join(answers))


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Talker, "127.0.0.1", port, backlog=10_000)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
