"""Connections that ask as fast as they can, while something is changed: what each request got, and when it began."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from tests.support import raw
from tests.support.gateway import Gateway
from tests.support.streams import wait_until

PATIENCE = 20.0


@dataclass(frozen=True)
class Asked:
    what: bytes  # the request
    began: float
    ended: float
    status: int


class Crowd:
    """`connections` of them, each waiting for its response before it asks again. All ask the same."""

    def __init__(self, gateway: Gateway, request: bytes, connections: int = 16) -> None:
        self.asked: list[Asked] = []
        self._request = request
        self._leaving = threading.Event()
        self._failures: list[Exception] = []
        self._threads = [threading.Thread(target=self._ask, args=(gateway,), daemon=True) for _ in range(connections)]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._leaving.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        assert self._failures == []

    def ask(self, request: bytes, *, until: int, times: int = 2) -> None:
        """From now on this, until each connection has got the status `until` for it `times` times, by and large."""
        self._request = request
        self.wait_for(request, until, times)

    def wait_for(self, request: bytes, status: int, times: int = 2) -> None:
        enough = times * len(self._threads)
        begun = len(self.asked)

        def is_done() -> bool:
            found = [asked for asked in self.asked[begun:] if asked.what == request and asked.status == status]
            return len(found) >= enough or bool(self._failures)

        assert wait_until(is_done, PATIENCE), {asked.status for asked in self.asked[begun:]}
        assert self._failures == []

    def _ask(self, gateway: Gateway) -> None:
        try:
            with gateway.connect() as connection:
                while not self._leaving.is_set():
                    request, began = self._request, time.monotonic()
                    status = connection.send(request).response().status
                    self.asked.append(Asked(request, began, time.monotonic(), status))
        except (OSError, raw.ProtocolViolation) as error:
            self._failures.append(error)
