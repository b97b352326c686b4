"""Clients that stay: WebSockets that send one message after the other, event streams, and those that just wait.

`python -m benchmarks.listeners KIND PORT PATH COUNT SECONDS TOKEN` prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

MESSAGE = b"m" * 100
_FRAME = bytes((0x81, 0x80 | len(MESSAGE), 0, 0, 0, 0)) + MESSAGE
_ECHO = bytes((0x81, len(MESSAGE))) + MESSAGE
_UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Listener(asyncio.Protocol):
    def __init__(self, head: bytes, expected: bytes) -> None:
        self._head, self._expected = head, expected
        self.opened = asyncio.get_running_loop().create_future()
        self.received = 0  # bytes behind the head
        self.ended = False
        self.status = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        if self.status:
            self.take(data)
        else:
            head, _, rest = data.partition(b"\r\n\r\n")
            self.status = head[9:12]
            if self.status == self._expected:
                self.opened.set_result(None)
            else:
                self.opened.set_exception(RuntimeError(f"answered {head[:60]!r}"))
            self.take(rest)

    def take(self, data: bytes) -> None:
        self.received += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("closed before an answer"))


class Echoing(Listener):
    """Sends the next message when the last has come back."""

    until = 0.0
    messages = 0

    def take(self, data: bytes) -> None:
        super().take(data)
        if self.until and self.received >= len(_ECHO):
            self.received -= len(_ECHO)
            self.messages += 1
            if time.monotonic() < self.until:
                self.transport.write(_FRAME)

    def start(self, until: float) -> None:
        self.until = until
        self.transport.write(_FRAME)


def head_of(path: str, port: int, token: str, extra: str = "", method: str = "GET") -> bytes:
    lines = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n{extra}\r\n"
    return lines.encode()


class Counting(Listener):
    """Events, however a proxy has cut them into chunks."""

    _last = b""

    def take(self, data: bytes) -> None:
        self.received += (self._last + data).count(b"\n\n")
        self._last = data[-1:]


async def open_many(make: type[Listener], count: int, port: int, head: bytes, status: bytes) -> list[Listener]:
    loop = asyncio.get_running_loop()
    opened: list[Listener] = []
    for first in range(0, count, 50):
        some = [
            await loop.create_connection(lambda: make(head, status), "127.0.0.1", port)
            for _ in range(first, min(count, first + 50))
        ]
        await asyncio.gather(*(listener.opened for _, listener in some))
        opened += [listener for _, listener in some]
    return opened


async def echo(port: int, path: str, count: int, seconds: float, token: str) -> dict[str, float]:
    """Messages that came back in a second."""
    found = await open_many(Echoing, count, port, head_of(path, port, token, _UPGRADE), b"101")
    began = time.monotonic()
    for one in found:
        assert isinstance(one, Echoing)
        one.start(began + seconds)
    await asyncio.sleep(seconds + 0.2)
    messages = sum(one.messages for one in found if isinstance(one, Echoing))
    return {"rate": messages / seconds, "messages": messages, "lost": sum(one.ended for one in found)}


async def events(port: int, path: str, count: int, seconds: float, token: str) -> dict[str, float]:
    """Events that arrived in a second, when one after the other is sent to all."""
    found = await open_many(Counting, count, port, head_of(path, port, token), b"200")
    number = max(1, int(seconds * 10))
    began = time.monotonic()
    [sender] = await open_many(Listener, 1, port, head_of(f"{path}/{number}", port, token, method="POST"), b"200")
    while any(one.received < number for one in found):
        if time.monotonic() > began + 60 or any(one.ended for one in found):
            raise RuntimeError("not all events arrived")
        await asyncio.sleep(0.005)
    sender.transport.close()
    taken = time.monotonic() - began
    return {"rate": number * count / taken, "messages": number * count, "lost": 0}


async def idle(port: int, path: str, count: int, seconds: float, token: str) -> dict[str, float]:
    """So many that say nothing, until a line comes on standard input."""
    upgrade = path.endswith("/ws")
    head = head_of(path, port, token, _UPGRADE if upgrade else "")
    found = await open_many(Listener, count, port, head, b"101" if upgrade else b"200")
    print(json.dumps({"open": len(found)}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    return {"lost": sum(one.ended for one in found)}


KINDS = {"echo": echo, "events": events, "idle": idle}


def main(kind: str, port: str, path: str, count: str, seconds: str, token: str) -> None:
    print(json.dumps(uvloop.run(KINDS[kind](int(port), path, int(count), float(seconds), token))))


if __name__ == "__main__":
    main(*sys.argv[1:])
