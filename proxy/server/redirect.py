"""The plain-http listener: everything is sent to https, except what proves that the host is ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from authgate.security_headers import SECURITY_HEADERS
from authgate.wire.authority import Authority, HostRefused, Origin, parse_authority, parse_origin
from proxy.server.http1.cycle import Application

# RFC 8555 8.3: certificate authorities ask on port 80 for the file that certbot has put there.
_CHALLENGE = re.compile(rb"/\.well-known/acme-challenge/([A-Za-z0-9_-]{1,200})")
_CHALLENGE_BYTES = 4096


def build_redirect(public_url: str, is_services: Callable[[str], bool], acme_dir: Path | None = None) -> Application:
    """To the host of the request if it is a service's by the policy, else to the public URL: any other Host would be
    an open redirect.
    """
    public = parse_origin(public_url)

    async def redirect(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if acme_dir is not None and (answer := _challenge(acme_dir, scope["raw_path"])) is not None:
            await _send_text(answer, send)
            return
        query: bytes = scope["query_string"]
        host = _host(scope["headers"])
        origin = Origin("https", Authority(host, public.authority.port)) if is_services(host) else public
        question = b"?" + query if query or scope.get("bare_query") else b""
        location = str(origin).encode("ascii") + scope["raw_path"] + question
        headers = [
            (b"location", location),
            (b"content-length", b"0"),
            (b"connection", b"close"),
            *SECURITY_HEADERS,
        ]
        await send({"type": "http.response.start", "status": 308, "headers": headers})
        await send({"type": "http.response.body"})

    return redirect


def _host(headers: list[tuple[bytes, bytes]]) -> str:
    """'' if it is no host; the server has refused a request without one."""
    try:
        return parse_authority(dict(headers)[b"host"]).host
    except (KeyError, HostRefused):
        return ""


def _challenge(acme_dir: Path, raw_path: bytes) -> bytes | None:
    """What certbot --webroot has written; None: there is no such file."""
    match = _CHALLENGE.fullmatch(raw_path)
    if match is None:
        return None
    try:
        with (acme_dir / ".well-known" / "acme-challenge" / match[1].decode("ascii")).open("rb") as file:
            return file.read(_CHALLENGE_BYTES)
    except OSError:
        return None


async def _send_text(body: bytes, send: Any) -> None:
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        *SECURITY_HEADERS,
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
