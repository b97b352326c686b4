"""One JSON line per request on standard output. Never a query string, a token or a cookie."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from authgate.decision import Decision, Identity, RequestFacts
from authgate.policy.snapshot import Snapshot

# A line up to this many bytes is written whole even when several workers share a pipe (POSIX PIPE_BUF).
_ATOMIC_WRITE = 4096
_FLUSH_SECONDS = 0.05


def new_request_id() -> str:
    return f"{random.getrandbits(128):032x}"  # names a request, guards nothing


@dataclass(slots=True)
class Record:
    """What is known of one request; filled in along its way and written when it ends."""

    request_id: str
    facts: RequestFacts | None = None
    snapshot: Snapshot | None = None
    decision: Decision | None = None
    identity: Identity | None = None  # of the caller of a page that the gate does not decide about
    status: int = 0
    bytes_sent: int = 0
    upstream_seconds: float | None = None
    in_log: bool = True
    started_at: float = field(default_factory=time.monotonic)


class _Line(msgspec.Struct):
    ts: str
    request_id: str
    client: str
    method: str
    host: str
    path: str
    status: int
    bytes: int
    duration_ms: float
    upstream_ms: float | None
    route: str | None
    decision: str | None
    reason: str | None
    sub: str | None
    credential: str | None
    revision: int | None


class AccessLog:
    """Collects lines for a moment and writes them together: one system call for many requests."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: list[bytes] = []
        self._encoder = msgspec.json.Encoder()

    def write(self, record: Record) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)
        self._lines.append(self._encoder.encode(_line(record)))

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        batch = b""
        for line in lines:
            if len(batch) + len(line) + 1 > _ATOMIC_WRITE:
                self._put(batch)
                batch = b""
            batch += line + b"\n"
        self._put(batch)

    def _put(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            # A full disk or a closed pipe must not stop the gateway; the operator sees it once per flush.
            print(f"authgate: access log: {error.strerror}", file=sys.stderr)  # noqa: T201


def _line(record: Record) -> _Line:
    facts, decision = record.facts, record.decision
    identity = decision.identity if decision is not None else record.identity
    now = time.time()
    upstream = record.upstream_seconds
    return _Line(
        f"{_second(int(now))}.{int(now * 1000) % 1000:03d}Z",
        record.request_id,
        facts.client if facts is not None else "",
        facts.method if facts is not None else "",
        facts.authority.host if facts is not None else "",
        facts.path if facts is not None else "",
        record.status,
        record.bytes_sent,
        round((time.monotonic() - record.started_at) * 1000, 2),
        None if upstream is None else round(upstream * 1000, 2),
        decision.route.name if decision is not None and decision.route is not None else None,
        None if decision is None else ("allow" if decision.allowed else "deny"),
        None if decision is None else decision.reason,
        identity.subject if identity is not None else None,
        identity.credential if identity is not None else None,
        None if decision is None else decision.revision,
    )


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
