"""The trace that a service is told, and the gateway's own span in it, sent by OTLP where a collector is configured.

Without a collector a trace that came passes on unchanged: the service would look for a parent that nobody has seen.
"""

from __future__ import annotations

import importlib.util
from time import monotonic, time_ns
from typing import TYPE_CHECKING

from django.conf import settings

from authgate.observe.access_log import Record
from authgate.wire.trace_context import span_id_of, traceparent

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

_PACKAGE = "opentelemetry.exporter.otlp.proto.http"
_EXPORTS = bool(settings.AUTHGATE_OTLP_ENDPOINT)
_SAMPLED_BELOW = int(settings.AUTHGATE_TRACE_RATIO * 2**32)
_SECONDS = 5  # for the collector to answer
_UNKNOWN = "_OTHER"  # of methods (semantic conventions for HTTP)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

_processor: BatchSpanProcessor | None = None


def traceparent_of(record: Record) -> bytes:
    """For the service."""
    if record.trace is not None and not _EXPORTS:
        return record.trace.line
    return traceparent(record.trace_id, record.request_id, sampled=_is_sampled(record))


def is_available() -> bool:
    """Whether the packages are installed that send spans."""
    try:
        return importlib.util.find_spec(_PACKAGE) is not None
    except ModuleNotFoundError:
        return False


def begin() -> None:
    """In each worker, after the fork: spans are sent by a thread."""
    global _processor
    if not _EXPORTS:
        return
    # Imported here: nobody else needs to have it installed.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    endpoint = f"{settings.AUTHGATE_OTLP_ENDPOINT}/v1/traces"
    _processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=_SECONDS))


def end() -> None:
    """Sends what is left."""
    global _processor
    processor, _processor = _processor, None
    if processor is not None:
        processor.shutdown()  # type: ignore[no-untyped-call]


def write(record: Record) -> None:
    """The span of a request that has ended. It waits in memory, and is dropped when too many wait."""
    if _processor is not None and _is_sampled(record):
        _processor.on_end(_span(record))


def _is_sampled(record: Record) -> bool:
    """A trusted proxy has decided that already. A stranger would have every request of theirs sent."""
    trace, facts = record.trace, record.facts
    if trace is not None and facts is not None and facts.forwarded_for != facts.client:
        return trace.sampled
    return int(record.request_id[:8], 16) < _SAMPLED_BELOW


def _span(record: Record) -> ReadableSpan:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    trace_id, flags, trace = int(record.trace_id, 16), TraceFlags(TraceFlags.SAMPLED), record.trace
    parent = None
    if trace is not None:
        parent = SpanContext(trace_id, int(trace.parent_id, 16), is_remote=True, trace_flags=flags)
    ended_at = time_ns()
    attributes = _attributes(record)
    return ReadableSpan(
        name=f"{attributes['http.request.method']} {attributes.get('http.route', '')}".rstrip(),
        context=SpanContext(trace_id, int(span_id_of(record.request_id), 16), is_remote=False, trace_flags=flags),
        parent=parent,
        kind=SpanKind.SERVER,
        attributes=attributes,
        status=Status(StatusCode.ERROR if record.status >= 500 else StatusCode.UNSET),
        start_time=ended_at - int((monotonic() - record.started_at) * 1_000_000_000),
        end_time=ended_at,
    )


def _attributes(record: Record) -> dict[str, str | int | float]:
    """By the semantic conventions, and the gateway's own. Neither the person nor the path: the access log has them."""
    facts, decision = record.facts, record.decision
    found: dict[str, str | int | float | None] = {
        "http.response.status_code": record.status,
        "authgate.request_id": record.request_id,
        "authgate.cut": record.cut,
        "http.request.method": _UNKNOWN,
    }
    if facts is not None:
        found |= {"url.scheme": facts.scheme, "server.address": facts.authority.host}
        if facts.method in _METHODS:
            found["http.request.method"] = facts.method
    if decision is not None:
        found |= {
            "authgate.decision": "allow" if decision.allowed else "deny",
            "authgate.reason": decision.reason,
            "authgate.revision": decision.revision,
        }
        if decision.entry is not None:
            found |= {"http.route": decision.entry.route.path, "authgate.route": decision.entry.route.name}
    if record.upstream_seconds is not None:
        found["authgate.upstream_ms"] = round(record.upstream_seconds * 1000, 2)
    return {name: value for name, value in found.items() if value is not None}
