"""The front door: the whole path of a request. Nothing is decided here; the gate decides."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any

from authgate.decision import Decision
from authgate.gate.decide import decide, decide_again
from authgate.gate.facts import FactsRefused, Received, read_facts, received_from
from authgate.observe import strangers
from authgate.observe.access_log import Record, new_request_id
from authgate.pages.responses import send_refusal
from authgate.reason import Reason
from authgate.state import snapshot as policy_snapshot
from proxy.pipeline import own_pages, renewal
from proxy.pipeline.downstream import Receive, Send
from proxy.pipeline.lifespan import log_access, run_lifespan
from proxy.pipeline.passage import proxy_view

logger = logging.getLogger(__name__)


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await run_lifespan(receive, send)
    elif scope["type"] == "http":
        record = scope.get("state", {}).get("record") or new_record(scope)
        try:
            await serve(scope, receive, send, record)
        finally:
            log_access(record)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": "not carried here"})


def new_record(scope: dict[str, Any]) -> Record:
    record = Record(new_request_id())
    scope["state"] = state_of(record)
    return record


def state_of(record: Record) -> dict[str, Any]:
    """What everything behind this door finds in scope["state"]."""
    return {"record": record, "request_id": record.request_id}


async def serve(scope: dict[str, Any], receive: Receive, send: Send, record: Record) -> None:
    decision = record.decision or consider(record, received_from(scope))
    if record.facts is not None:
        strangers.client.set(record.facts.client)
    if decision is not None and not isinstance(decision, Decision):
        decision = await decision
    if renewal.is_wanted(record, decision):
        facts = record.facts
        send = await renewal.renew(record, send)
        if decision is not None and record.facts is not facts:
            decision = await _reconsider(record, decision)
    if decision is None:
        await own_pages.serve(scope, receive, send, record)
    elif decision.allowed:
        await proxy_view(scope, receive, send)
    elif own_pages.has_page(record):
        await own_pages.serve_unrouted(scope, receive, send, record)
    else:
        await send_refusal(record, decision, send, unread=scope)


def consider(record: Record, received: Received) -> Decision | Awaitable[Decision] | None:
    """Write facts and decision into the record. None: the path is the gateway's own. Awaitable where the gate's is."""
    snapshot = policy_snapshot.current()
    try:
        record.facts = facts = read_facts(*received, snapshot.table if snapshot is not None else None)
    except FactsRefused as refused:
        record.decision, record.rule = Decision(False, refused.reason), refused.rule
        return record.decision
    record.snapshot = snapshot
    if own_pages.is_reserved(facts, snapshot):
        return None
    try:
        decision = decide(facts, snapshot)
    except Exception:
        decision = _gate_failed(record)
    if not isinstance(decision, Decision):
        return _decided(record, decision)
    record.decision = decision
    return decision


async def _reconsider(record: Record, before: Decision) -> Decision:
    """With the headers that the record has now."""
    record.snapshot = snapshot = policy_snapshot.current()
    assert record.facts is not None and snapshot is not None  # noqa: S101  they were decided on before
    try:
        decision = decide_again(record.facts, snapshot, before)
    except Exception:
        decision = _gate_failed(record)
    if not isinstance(decision, Decision):
        return await _decided(record, decision)
    record.decision = decision
    return decision


async def _decided(record: Record, deciding: Awaitable[Decision]) -> Decision:
    try:
        record.decision = decision = await deciding
    except Exception:
        record.decision = decision = _gate_failed(record)
    return decision


def caused_by(record: Record) -> dict[str, str]:
    """`extra` of a line that is logged outside of a task."""
    return {"client": record.facts.client} if record.facts is not None else {}


def _gate_failed(record: Record) -> Decision:
    logger.exception("the gate failed on request %s", record.request_id, extra=caused_by(record))
    return Decision(False, Reason.GATE_ERROR)
