"""The service behind the demo gateway: shows what reached it, streams, echoes, and is slow on demand.

It believes the identity headers, as a service behind the gateway may: nobody else can reach its socket.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from gateway_site.demo.page import render

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MOUNT = re.compile(r"^/api/(?:public|protected|admin)(?=/|$)")
MAX_SECONDS = 300.0
MAX_EVENTS = 1000


async def application(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    path = MOUNT.sub("", scope["path"]).rstrip("/") or "/"
    await {"/stream": _stream, "/echo": _echo, "/slow": _slow}.get(path, _show)(scope, receive, send)


async def _show(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """As JSON, or as a page for a browser."""
    received = _describe(scope, sum([len(part) async for part in _body(receive)]))
    if "text/html" in _header(scope, "accept"):
        content = render(received).encode()
        policy = (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'")
        await _start(send, 200, b"text/html; charset=utf-8", policy, _length(content))
    else:
        content = json.dumps(received, indent=2).encode() + b"\n"
        await _start(send, 200, b"application/json", _length(content))
    await send({"type": "http.response.body", "body": content})


async def _stream(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Server-sent events: `?count=10&seconds=0.5`."""
    count = int(_number(scope, "count", 10, MAX_EVENTS))
    seconds = _number(scope, "seconds", 0.5, MAX_SECONDS)
    await _start(send, 200, b"text/event-stream", (b"cache-control", b"no-store"))
    for number in range(1, count + 1):
        event = json.dumps({"event": number, "of": count})
        await send({"type": "http.response.body", "body": f"data: {event}\n\n".encode(), "more_body": True})
        if number < count and not await _pause(receive, seconds):
            return
    await send({"type": "http.response.body", "body": b""})


async def _echo(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """The request body comes back as it arrives."""
    content_type = _header(scope, "content-type") or "application/octet-stream"
    await _start(send, 200, content_type.encode("latin-1"))
    async for part in _body(receive):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _slow(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Answers after `?seconds=2`."""
    if await _pause(receive, _number(scope, "seconds", 2, MAX_SECONDS)):
        await _show(scope, _nothing_more, send)


def _describe(scope: MutableMapping[str, Any], body_bytes: int) -> dict[str, Any]:
    return {
        "method": scope["method"],
        "path": scope["raw_path"].decode("latin-1"),
        "query": scope["query_string"].decode("latin-1"),
        "identity": {
            "id": _header(scope, "x-auth-user-id"),
            "email": _header(scope, "x-auth-user-email"),
            "name": _header(scope, "x-auth-user-name"),
            "roles": _json(_header(scope, "x-auth-user-roles")),
            "assertion": _claims(_header(scope, "x-auth-assertion")),
        },
        "headers": _all_headers(scope),
        "body_bytes": body_bytes,
    }


def _all_headers(scope: MutableMapping[str, Any]) -> dict[str, str | list[str]]:
    """A header that came more than once has a list of its values."""
    values: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return {name: several if len(several) > 1 else several[0] for name, several in values.items()}


def _claims(unverified_assertion: str) -> Any:
    """For reading only; a service that wants proof verifies it with /.well-known/jwks.json."""
    parts = unverified_assertion.split(".")
    if len(parts) != 3:
        return None
    try:
        return json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _header(scope: MutableMapping[str, Any], name: str) -> str:
    wanted = name.encode()
    values: list[bytes] = [value for key, value in scope["headers"] if key == wanted]
    return b", ".join(values).decode("latin-1")


def _number(scope: MutableMapping[str, Any], name: str, default: float, most: float) -> float:
    try:
        value = float(parse_qs(scope["query_string"].decode("latin-1"))[name][0])
    except (KeyError, ValueError):
        return default
    return max(0.0, min(value, most))


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while (message := await receive())["type"] == "http.request":
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def _pause(receive: Receive, seconds: float) -> bool:
    """False, at once, when the client has gone."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return True
    return False


async def _nothing_more() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _start(send: Send, status: int, content_type: bytes, *headers: tuple[bytes, bytes]) -> None:
    fields = [(b"content-type", content_type), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})


def _length(content: bytes) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % len(content)
