"""Connections that use sessions as fast as they can, while these are ended: who is let in after the answer."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType

from benchmarks.bench import Invalid

CONNECTIONS = 16
WARM = 4 * CONNECTIONS
LATE = 256  # requests, for each session, that begin after the answer
TIMEOUT = 20


@dataclass
class Tally:
    """Requests that began after the answer to the sign-out of their session."""

    tried: int = 0
    let_in: int = 0
    longest_wait: float = 0.0  # seconds


class Asker:
    """A connection with one request at a time on its way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Asker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, request: bytes) -> None:
        self._received, self.began = b"", time.monotonic()
        self.socket.sendall(request)

    def receive(self) -> int | None:
        """The status, once the whole response is here."""
        piece = self.socket.recv(65536)
        if not piece:
            raise Invalid(f"the gateway closed a connection after {self._received[:100]!r}")
        self._received += piece
        head, complete, body = self._received.partition(b"\r\n\r\n")
        if not complete or len(body) < _length(head):
            return None
        return int(head[9:12])


@dataclass(frozen=True)
class Answer:
    asker: Asker
    status: int
    began: float
    ended: float


class Crowd:
    """`CONNECTIONS` of them, each sending again as soon as it has its response.

    One thread sends everything, the sign-out too, so it is certain which requests began after the answer.
    """

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._port = port
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self._askers = [stack.enter_context(Asker(port)) for _ in range(CONNECTIONS)]
        self._request = b""
        self._answers = self._all_answers()

    def end(self, cookie: str, tally: Tally) -> None:
        self._request = _request("GET", "/ended", cookie)
        if not self._selector.get_map():
            for asker in self._askers:
                self._watch(asker, self._request)
        self._wait_until_let_in()
        with Asker(self._port) as ender:
            self._watch(
                ender, _request("POST", "/auth/logout", cookie, "Sec-Fetch-Site: same-origin", "Content-Length: 0")
            )
            answered = self._wait_for(ender)
        self._count(answered, tally)

    def _wait_until_let_in(self) -> None:
        let_in = 0
        for _ in range(20 * WARM):
            let_in += next(self._answers).status == 200
            if let_in == WARM:
                return
        raise Invalid("a session that had not ended was not let in")

    def _wait_for(self, ender: Asker) -> float:
        answer = next(answer for answer in self._answers if answer.asker is ender)
        self._selector.unregister(ender.socket)
        if answer.status != 303:
            raise Invalid(f"a sign-out was answered with {answer.status}")
        return answer.ended

    def _count(self, answered: float, tally: Tally) -> None:
        enough = tally.tried + LATE
        while tally.tried < enough:
            answer = next(self._answers)
            if answer.began > answered:
                if answer.status not in (200, 401):
                    raise Invalid(f"a request after a sign-out was answered with {answer.status}")
                tally.tried += 1
                tally.let_in += answer.status == 200
                tally.longest_wait = max(tally.longest_wait, answer.ended - answer.began)

    def _watch(self, asker: Asker, request: bytes) -> None:
        self._selector.register(asker.socket, selectors.EVENT_READ, asker)
        asker.send(request)

    def _all_answers(self) -> Iterator[Answer]:
        while True:
            ready = self._selector.select(TIMEOUT)
            if not ready:
                raise Invalid(f"nobody was answered for {TIMEOUT} seconds")
            for key, _ in ready:
                asker: Asker = key.data
                if (status := asker.receive()) is not None:
                    answer = Answer(asker, status, asker.began, time.monotonic())
                    if asker in self._askers:
                        asker.send(self._request)
                    yield answer


def end_under_load(port: int, cookies: list[str]) -> Tally:
    tally = Tally()
    with ExitStack() as stack:
        crowd = Crowd(port, stack)
        for cookie in cookies:
            crowd.end(cookie, tally)
    return tally


def _request(method: str, path: str, cookie: str, *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Cookie: {cookie}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line[15:])
    return 0
