"""The plain-http listener: everything is sent to the public https URL, nothing else is answered."""

from __future__ import annotations

from typing import Any

from authgate.security_headers import SECURITY_HEADERS
from proxy.server.http1.cycle import Application


def build_redirect(public_url: str) -> Application:
    """The authority is the configured one, never the Host of the request: that would be an open redirect."""
    origin = public_url.encode("ascii")

    async def redirect(scope: dict[str, Any], receive: Any, send: Any) -> None:
        query: bytes = scope["query_string"]
        location = origin + scope["raw_path"] + (b"?" + query if query or scope.get("bare_query") else b"")
        headers = [
            (b"location", location),
            (b"content-length", b"0"),
            (b"connection", b"close"),
            *SECURITY_HEADERS,
        ]
        await send({"type": "http.response.start", "status": 308, "headers": headers})
        await send({"type": "http.response.body"})

    return redirect
