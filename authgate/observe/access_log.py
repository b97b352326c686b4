"""One JSON line per request on standard output. Never a query string, a token or a cookie."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from random import getrandbits
from time import gmtime, monotonic, strftime, time_ns

import msgspec
from msgspec.structs import replace

from authgate.decision import Decision, Denied, McpCall
from authgate.observe.line_writer import LineWriter
from authgate.observe.strangers import Cause
from authgate.reason import Reason
from authgate.request import Identity, RequestFacts
from authgate.state.snapshot import Snapshot
from authgate.wire.authority import Authority
from authgate.wire.headers import Headers
from authgate.wire.trace_context import Trace

_FLUSH_SECONDS = 0.05


def new_request_id() -> str:
    return getrandbits(128).to_bytes(16).hex()  # only an identifier, not a secret


class Record(msgspec.Struct):
    """The facts about one request for the log: filled in along its way and written when it ends."""

    request_id: str
    facts: RequestFacts | None = None
    snapshot: Snapshot | None = None
    decision: Decision | None = None
    identity: Identity | None = None  # the caller of a page that the gate does not decide about
    trace: Trace | None = None  # that the request belongs to; None: it begins one
    rule: str = ""  # why a bad target was refused
    status: int = 0
    bytes_sent: int = 0
    upstream_seconds: float | None = None
    cut: str | None = None  # why the response is incomplete
    in_log: bool = True
    mcp_calls: tuple[McpCall, ...] = ()  # a line for each
    started_at: float = msgspec.field(default_factory=monotonic)

    @property
    def trace_id(self) -> str:
        """Of a trace that begins here, the request's own: it has the same form."""
        return self.request_id if self.trace is None else self.trace.trace_id

    @property
    def cause(self) -> Cause:
        """Of lines of the application log."""
        return Cause(self.facts.client if self.facts is not None else "", self.request_id, self.trace_id)


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
    jti: str | None  # ID of an access token, by which it can be revoked
    cut: str | None
    trace_id: str  # W3C Trace Context
    rule: str | msgspec.UnsetType = msgspec.UNSET  # only on bad_target and bad_message
    mcp_method: str | msgspec.UnsetType = msgspec.UNSET  # only on calls of an MCP server
    mcp_tool: str | msgspec.UnsetType = msgspec.UNSET  # only on tools/call


_SECOND_READING = "an application could read the path as one of another route"
_BAD_TARGET = Reason.BAD_TARGET  # the look-up in the class costs more than a comparison
_UNREAD = RequestFacts("", "", Authority("", None), "", b"", "", "", Headers())
_MILLISECONDS = tuple(f"{number:03d}Z" for number in range(1000))


class AccessLog:
    """A buffer that writes the lines of a moment together: one system call for many requests."""

    def __init__(self, descriptor: int) -> None:
        self._writer = LineWriter(descriptor, "access log", remind=True)
        self._lines: list[bytes] = []
        self._encoder = msgspec.json.Encoder()

    def write(self, record: Record) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)
        line = _line(record)
        if record.mcp_calls:
            self._lines += [self._encoder.encode(_line_of_call(line, call)) for call in record.mcp_calls]
        else:
            self._lines.append(self._encoder.encode(line))

    def flush(self) -> None:
        if self._lines:
            # The empty element ends the last line.
            self._writer.put(b"\n".join((*self._lines, b"")))
            self._lines = []


def _line(record: Record) -> _Line:
    facts, decision = record.facts or _UNREAD, record.decision
    rule: str | msgspec.UnsetType = msgspec.UNSET
    if decision is None:
        outcome, reason, revision, entry, identity = None, None, None, None, record.identity
    else:
        reason, revision, entry, identity = decision.reason, decision.revision, decision.entry, decision.identity
        outcome = "allow" if decision.allowed else "deny"
        if reason is _BAD_TARGET:
            rule = record.rule or _SECOND_READING
        elif isinstance(decision, Denied) and decision.rule:
            rule = decision.rule
    if identity is None:
        subject = credential = token_id = None
    else:
        subject, credential = identity.subject, identity.credential
        token_id = None if identity.session_id else identity.token_id
    second, millisecond = divmod(time_ns() // 1_000_000, 1000)
    upstream = record.upstream_seconds
    # By position: by name it takes three times as long, on every request.
    return _Line(
        _second(second) + _MILLISECONDS[millisecond],
        record.request_id,
        facts.client,
        facts.method,
        facts.authority.host,
        facts.path,
        record.status,
        record.bytes_sent,
        (monotonic() - record.started_at) * 100_000 // 1 / 100,
        None if upstream is None else upstream * 100_000 // 1 / 100,
        None if entry is None else entry.route.name,
        outcome,
        reason,
        subject,
        credential,
        revision,
        token_id,
        record.cut,
        record.request_id if record.trace is None else record.trace.trace_id,
        rule,
    )


def _line_of_call(line: _Line, call: McpCall) -> _Line:
    named = replace(line, mcp_method=call.method, mcp_tool=call.tool or msgspec.UNSET)
    if call.refused is not None:
        named.reason = call.refused
    elif line.decision == "deny":
        named.reason = Reason.BATCH_REFUSED
    return named


@lru_cache(maxsize=4)
def _second(second: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S.", gmtime(second))
