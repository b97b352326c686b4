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
        record = Record(new_request_id())
        scope["state"] = {"record": record, "request_id": record.request_id}
        try:
            await serve(scope, receive, send, record)
        finally:
            log_access(record)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": "not carried here"})


async def serve(scope: dict[str, Any], receive: Receive, send: Send, record: Record) -> None:
    try:
        record.facts = facts = build_facts(scope)
    except FactsRefused as refused:
        await send_refusal(record, Decision(False, refused.reason), send)
        return
    record.snapshot = snapshot = policy_snapshot.current()
    if own_pages.is_reserved(facts, snapshot):
        await own_pages.serve(scope, receive, send, record)
        return
    try:
        record.decision = decision = await decide(facts, snapshot)
    except Exception:
        logger.exception("the gate failed on request %s", record.request_id)
        record.decision = decision = Decision(False, Reason.GATE_ERROR)
    if decision.allowed:
        await proxy_view(scope, receive, send)
    elif decision.reason is Reason.NO_ROUTE and own_pages.has_page(facts, snapshot):
        await own_pages.serve_unrouted(scope, receive, send, record)
    else:
        await send_refusal(record, decision, send)
