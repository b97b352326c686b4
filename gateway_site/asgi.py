"""The front door: the whole path of a request. Nothing is decided here; the gate decides."""

from __future__ import annotations

import logging
import os
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
django.setup()

from authgate.access_log import Record, new_request_id
from authgate.decision import Decision, Reason
from authgate.facts import FactsRefused, build_facts
from authgate.gate import decide
from authgate.policy import snapshot as policy_snapshot
from authgate.responses import send_refusal
from gateway_site import own_pages
from gateway_site.lifespan import log_access, run_lifespan
from proxy.downstream import Receive, Send
from proxy.views import proxy_view

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
    scope["state"] = {"record": record, "request_id": record.request_id}
    return record


async def serve(scope: dict[str, Any], receive: Receive, send: Send, record: Record) -> None:
    decision = record.decision or await consider(scope, record)
    if decision is None:
        await own_pages.serve(scope, receive, send, record)
    elif decision.allowed:
        await proxy_view(scope, receive, send)
    elif own_pages.has_page(record):
        await own_pages.serve_unrouted(scope, receive, send, record)
    else:
        await send_refusal(record, decision, send)


async def consider(scope: dict[str, Any], record: Record) -> Decision | None:
    """Write facts and decision into the record. None: the path is the gateway's own.

    Suspends only where the gate does.
    """
    try:
        record.facts = facts = build_facts(scope)
    except FactsRefused as refused:
        record.decision = Decision(False, refused.reason)
        return record.decision
    record.snapshot = snapshot = policy_snapshot.current()
    if own_pages.is_reserved(facts, snapshot):
        return None
    try:
        record.decision = await decide(facts, snapshot)
    except Exception:
        logger.exception("the gate failed on request %s", record.request_id)
        record.decision = Decision(False, Reason.GATE_ERROR)
    return record.decision
