"""Files of a directory over ASGI. Nothing outside the directory, nothing hidden, nothing but files."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, auto
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from django.contrib.staticfiles.finders import AppDirectoriesFinder

from authgate.decision import Denied
from authgate.observe.access_log import Record
from authgate.pages.responses import answer_refusal
from authgate.reason import Reason
from authgate.security_headers import SECURITY_HEADERS
from authgate.wire.headers import RawHeaders
from proxy.pipeline.file_answer import FileAnswer, FileFacts, build_answer

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

CHUNK = 256 * 1024


class Miss(Enum):
    NOTHING = auto()
    NEEDS_SLASH = auto()  # a directory with an index, asked for without the slash at its end


class OpenFile(NamedTuple):
    file: FileIO
    facts: FileFacts


class Ready(NamedTuple):
    """An answer with the first piece of its body already read, so that a small file costs one thread hop."""

    answer: FileAnswer
    file: FileIO
    first: bytes


class StaticSite:
    """`not_found` answers for paths without a file; by default the gateway's 404."""

    def __init__(
        self,
        *roots: Path,
        prefix: str = "/",
        max_age: int = 60,
        not_found: ASGIApp | None = None,
    ) -> None:
        self.roots = roots
        self.prefix = prefix
        self.max_age = max_age
        self.not_found = not_found or _refuse(Reason.NO_ROUTE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await _METHOD_REFUSED(scope, receive, send)
            return
        # The front door gives the canonical path, still percent-encoded: decoded once, below, and never twice.
        path = scope["path"].removeprefix(self.prefix)
        found = await asyncio.to_thread(self._prepare, path, scope["method"], scope["headers"])
        if isinstance(found, Ready):
            await _send_file(found, receive, send)
        elif found is Miss.NEEDS_SLASH:
            await _redirect_to_slash(scope, send)
        else:
            await self.not_found(scope, receive, send)

    def _prepare(self, path: str, method: str, headers: RawHeaders) -> Ready | Miss:
        """Runs in a thread: a disk may be slow."""
        found = self._open(path)
        if isinstance(found, Miss):
            return found
        try:
            # Range belongs to GET alone (RFC 9110 14.2).
            wanted = [(n, v) for n, v in headers if method == "GET" or n != b"range"]
            answer = build_answer(found.facts, wanted, self.max_age)
            if method == "HEAD":
                answer = answer._replace(length=0)
            found.file.seek(answer.offset)
            return Ready(answer, found.file, found.file.read(min(CHUNK, answer.length)))
        except BaseException:
            found.file.close()
            raise

    def _open(self, path: str) -> OpenFile | Miss:
        found: OpenFile | Miss = Miss.NOTHING
        for root in self.roots:
            found = open_below(root, path)
            if found is not Miss.NOTHING:
                break
        return found


def open_below(root: Path, path: str) -> OpenFile | Miss:
    """The file at `path` (percent-encoded, without leading slash), or the index.html of a directory."""
    *segments, last = unquote(path).split("/")
    if last:
        segments.append(last)
    if not all(map(_is_visible, segments)):
        return Miss.NOTHING
    try:
        top = root.resolve(strict=True)
        found = _resolve_inside(top, top.joinpath(*segments))
        if found.is_file():
            return _open(found) if last else Miss.NOTHING
        index = _resolve_inside(top, found / "index.html")
        return Miss.NEEDS_SLASH if last and index.is_file() else _open(index)
    except (OSError, RuntimeError):
        # Missing, unreadable, too long a name, or links in a circle (RuntimeError before Python 3.13).
        return Miss.NOTHING


def _is_visible(segment: str) -> bool:
    """Also refuses "", "." and "..", and slashes and NUL that were encoded."""
    if not segment or "/" in segment or "\x00" in segment:
        return False
    return not segment.startswith(".") or segment == ".well-known"


def _resolve_inside(top: Path, path: Path) -> Path:
    """With symbolic links followed: they may lead elsewhere in the directory, never out or to hidden files."""
    found = path.resolve(strict=True)
    if not (found.is_relative_to(top) and all(map(_is_visible, found.relative_to(top).parts))):
        raise FileNotFoundError(path)
    return found


def _open(path: Path) -> OpenFile | Miss:
    # The path is resolved, so a link here was put in place since; and opening a FIFO would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        return Miss.NOTHING
    facts = FileFacts(path.name, status.st_size, status.st_mtime_ns)
    return OpenFile(FileIO(descriptor, "rb"), facts)


async def _send_file(ready: Ready, receive: Receive, send: Send) -> None:
    answer, file, chunk = ready
    gone = asyncio.ensure_future(_until_disconnect(receive))
    try:
        await send(_start(answer.status, [*answer.headers, *SECURITY_HEADERS]))
        left = answer.length - len(chunk)
        # `send` waits while the client is slow, so one chunk is in memory at a time.
        while left > 0 and not gone.done():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            chunk = await asyncio.to_thread(file.read, min(CHUNK, left))
            if not chunk:
                return  # cut short on disk: leaving the response unfinished makes the server abort it visibly
            left -= len(chunk)
        await send({"type": "http.response.body", "body": chunk})
    finally:
        gone.cancel()
        file.close()


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _redirect_to_slash(scope: Scope, send: Send) -> None:
    """Path only. A canonical path begins with exactly one slash, so this can never name another host."""
    query = b"?" + scope["query_string"] if scope.get("query_string") else b""
    location = scope["path"].encode("ascii") + b"/" + query
    headers = [(b"location", location), (b"content-length", b"0"), (b"cache-control", b"no-cache")]
    await send(_start(302, [*headers, *SECURITY_HEADERS]))
    await send({"type": "http.response.body", "body": b""})


def _refuse(reason: Reason, *extra: tuple[bytes, bytes]) -> ASGIApp:
    async def refused(scope: Scope, receive: Receive, send: Send) -> None:
        record = scope.get("state", {}).get("record") or Record("")
        answer = answer_refusal(record, Denied(reason), scope["method"], scope["headers"])
        # The front door puts the request's ID on everything that is sent through it.
        headers = [header for header in answer.headers if header[0] != b"x-request-id"]
        await send(_start(answer.status, [*headers, *extra]))
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    return refused


_METHOD_REFUSED = _refuse(Reason.BAD_METHOD, (b"allow", b"GET, HEAD"))


def _start(status: int, headers: RawHeaders) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def django_static_roots() -> Sequence[Path]:
    """Where the installed applications keep their static files: not copied, so never stale."""
    return [Path(storage.location) for storage in AppDirectoriesFinder().storages.values()]
