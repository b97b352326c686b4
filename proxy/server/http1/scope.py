"""What the application is told about a request."""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import unquote

from proxy.server.http1.head import RequestHead

_ASGI = {"version": "3.0", "spec_version": "2.3"}

Address = tuple[str, int | None] | None


class _Connection(Protocol):
    scheme: str


def scope_of(
    connection: _Connection, request: RequestHead, state: dict[str, Any], client: Address, server: Address
) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": _ASGI,
        "http_version": request.version,
        "method": request.method,
        "scheme": connection.scheme,
        "path": unquote(request.raw_path.decode("ascii")),
        "raw_path": request.raw_path,
        "query_string": request.query[1:],
        "bare_query": request.query == b"?",
        "root_path": "",
        "headers": request.headers,
        "client": client,
        "server": server,
        "state": state,
        "extensions": {"authgate.connection": connection},
    }
