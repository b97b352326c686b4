"""People who are signing in at a provider that takes their requests and never answers."""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import ExitStack, suppress
from types import TracebackType

from benchmarks.gateway import Gateway
from benchmarks.processes import free_port

_SETTLE_SECONDS = 1.0


class HangingLogins:
    """`with HangingLogins(gateway, 50) as logins:` and `logins.hanging()` of them are still unanswered."""

    def __init__(self, gateway: Gateway, count: int) -> None:
        self._count = count
        self._stack = ExitStack()
        self._provider = self._stack.enter_context(socket.create_server(("127.0.0.1", free_port()), backlog=count))
        self._taken: list[socket.socket] = []
        port = self._provider.getsockname()[1]
        self._slug = f"hanging{port}"
        gateway.add_provider(self._slug, f"http://127.0.0.1:{port}")
        self._visitors = [
            self._stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port))) for _ in range(count)
        ]
        threading.Thread(target=self._take, daemon=True).start()

    def __enter__(self) -> HangingLogins:
        for visitor in self._visitors:
            visitor.sendall(f"GET /auth/login?provider={self._slug} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        time.sleep(_SETTLE_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # shutdown, because close alone does not end an accept that waits in another thread
        for taken in (self._provider, *self._taken):
            with suppress(OSError):
                taken.shutdown(socket.SHUT_RDWR)
            taken.close()
        # Their threads in the gateway end with this, so that what is measured next is measured without them.
        deadline = time.monotonic() + 30
        while self.hanging() and time.monotonic() < deadline:
            time.sleep(0.1)
        self._stack.close()

    def hanging(self) -> int:
        return self._count - len(select.select(self._visitors, [], [], 0)[0])

    def _take(self) -> None:
        with suppress(OSError):
            while True:
                self._taken.append(self._provider.accept()[0])
