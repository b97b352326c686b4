"""A service that speaks WebSocket by a library of others', and clients that do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Request, ServerConnection, serve

from tests.support.gateway import Gateway

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class WebSocketService:
    """By the end of the path: `echo`, `push` (speaks first), `close` (says 4000), `deny` (answers 418)."""

    def __init__(self, **options: Any) -> None:
        self.requests: list[Request] = []
        self.closed: list[tuple[int | None, str]] = []  # code and reason, as the service saw them
        self._server = serve(
            self._handle, "127.0.0.1", 0, subprotocols=["chat", "superchat"], process_request=self._look,  # type: ignore[list-item]
            select_subprotocol=_first, ping_interval=None, max_size=None, **options,
        )  # fmt: skip
        self.target = f"http://127.0.0.1:{self._server.socket.getsockname()[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> WebSocketService:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _look(self, connection: ServerConnection, request: Request) -> Any:
        self.requests.append(request)
        if request.path.endswith("deny"):
            return connection.respond(418, "no tea\n")  # type: ignore[arg-type]
        return None

    def _handle(self, connection: ServerConnection) -> None:
        path = connection.request.path if connection.request is not None else ""
        try:
            if path.endswith("close"):
                connection.close(4000, "enough")
            elif path.endswith("push"):
                connection.send("first")
            for message in connection:
                connection.send(message)
        except ConnectionClosed:
            pass
        finally:
            self.closed.append((connection.close_code, connection.close_reason or ""))


def _first(connection: ServerConnection, offered: Any) -> Any:
    return offered[0] if offered else None


@contextmanager
def websocket(gateway: Gateway, path: str, *, token: str = "", **options: Any) -> Iterator[ClientConnection]:
    """Through the gateway."""
    headers = dict(options.pop("additional_headers", {}))
    if token:
        headers["Authorization"] = f"Bearer {token}"
    options = {"proxy": None, "max_size": None, "open_timeout": 10, **options}
    with connect(f"ws://localhost:{gateway.port}{path}", additional_headers=headers, **options) as client:
        yield client


def handshake(**changed: str) -> list[tuple[str, str]]:
    """The headers of one. `changed`: by name with `_` for `-`; empty leaves it out."""
    headers = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY,
    }  # fmt: skip
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    return [(name, value) for name, value in headers.items() if value]
