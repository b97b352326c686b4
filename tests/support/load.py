"""Clients that send one request after the other on kept connections, and count what becomes of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from tests.support import raw


class Load:
    """`describe` names the outcome of a response; one that was cut is "lost", and no connection its error's name."""

    def __init__(
        self,
        connect: Callable[[], raw.RawClient],
        request: bytes,
        *,
        clients: int,
        describe: Callable[[raw.Response], str] = lambda response: str(response.status),
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self._connect, self._request, self._describe = connect, request, describe
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._connect() as client:
                    self._use(client)
            except raw.Truncated:
                self.outcomes["lost"] += 1
            except OSError as error:
                self.outcomes[type(error).__name__] += 1

    def _use(self, client: raw.RawClient) -> None:
        while not self._stop.is_set():
            response = client.send(self._request).response()
            self.outcomes[self._describe(response)] += 1
            if response.header("connection") == "close":
                return
