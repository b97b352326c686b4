"""Long bodies: sending, counting and measuring them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from tests.support.gateway import Gateway
from tests.support.upstream import RecordedRequest, UpstreamConnection

MIB = 1 << 20
BLOCK = bytes(range(256)) * (MIB // 256)


def wait_until(condition: Callable[[], bool], timeout: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class Memory:
    """How much the gateway's workers have grown since this was made."""

    def __init__(self, gateway: Gateway) -> None:
        self._workers = [psutil.Process(pid) for pid in gateway.worker_pids()]
        self._start = self._rss()

    def grown(self) -> float:
        """In MiB."""
        return (self._rss() - self._start) / MIB

    def _rss(self) -> int:
        return sum(worker.memory_info().rss for worker in self._workers)


def sockets(gateway: Gateway) -> int:
    """Open connections of the gateway's workers, listening sockets left out."""
    workers = [psutil.Process(pid) for pid in gateway.worker_pids()]
    return sum(c.status != psutil.CONN_LISTEN for worker in workers for c in worker.net_connections())


class Torrent:
    """Sends `blocks` MiB as fast as they are taken, and counts them."""

    def __init__(self, blocks: int, *, block: bytes = BLOCK) -> None:
        self._blocks, self._block = blocks, block
        self.sent = 0  # blocks
        self.ended = threading.Event()

    def __call__(self, connection: UpstreamConnection, request: RecordedRequest) -> None:
        try:
            length = self._blocks * len(self._block)
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
            for _ in range(self._blocks):
                connection.send(self._block)
                self.sent += 1
        except OSError:
            pass
        finally:
            self.ended.set()

    def stands_still(self) -> bool:
        before = self.sent
        time.sleep(0.3)
        return before == self.sent


class Events:
    """An event stream whose next event is sent when the test says so."""

    HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

    def __init__(self) -> None:
        self.streams: list[tuple[UpstreamConnection, RecordedRequest]] = []
        self.closed = 0
        self._lock = threading.Lock()

    def __call__(self, connection: UpstreamConnection, request: RecordedRequest) -> None:
        with self._lock:
            self.streams.append((connection, request))
        connection.send(self.HEAD)
        connection.wait_closed(60)
        with self._lock:
            self.closed += 1

    def send(self, data: bytes) -> None:
        """To every client that is still there."""
        for stream, _ in self.streams:
            with suppress(OSError):
                stream.send(b"%x\r\n%b\r\n" % (len(data), data))
