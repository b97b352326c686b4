"""The front door: the whole path of a request. Nothing is decided here; the gate decides."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
django.setup()

from django.conf import settings

from authgate.access_log import Record, new_request_id
from authgate.decision import Decision, Reason
from authgate.facts import FactsRefused, Received, read_facts, received_from
from authgate.gate import decide, decide_again
from authgate.policy import snapshot as policy_snapshot
from authgate.responses import send_refusal
from authgate.sessions import renewal
from gateway_site import own_pages
from gateway_site.lifespan import log_access, run_lifespan
from proxy.downstream import Receive, Send
from proxy.views import proxy_view

logger = logging.getLogger(__name__)

_CACHING = frozenset((b"cache-control", b"expires", b"pragma", b"surrogate-control"))
_PERSONAL = (settings.AUTHGATE_AUTH_PREFIX, "/admin", "/dashboard")  # of our own pages, those that ask who it is


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
    if decision is not None and not isinstance(decision, Decision):
        decision = await decision
    if _wants_renewal(record, decision):
        send = await _renew(record, send)
        decision = record.decision
    if decision is None:
        await own_pages.serve(scope, receive, send, record)
    elif decision.allowed:
        await proxy_view(scope, receive, send)
    elif own_pages.has_page(record):
        await own_pages.serve_unrouted(scope, receive, send, record)
    else:
        await send_refusal(record, decision, send)


def consider(record: Record, received: Received) -> Decision | Awaitable[Decision] | None:
    """Write facts and decision into the record. None: the path is the gateway's own. Awaitable where the gate's is."""
    try:
        record.facts = facts = read_facts(*received)
    except FactsRefused as refused:
        record.decision = Decision(False, refused.reason)
        return record.decision
    record.snapshot = snapshot = policy_snapshot.current()
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


def _wants_renewal(record: Record, decision: Decision | None) -> bool:
    facts = record.facts
    if facts is None or record.snapshot is None:
        return False
    if decision is not None:
        return renewal.may_be_due(decision, facts.headers)
    return facts.path.startswith(_PERSONAL) and not facts.path.startswith(settings.STATIC_URL)


async def _renew(record: Record, send: Send) -> Send:
    """A session near or past its cookie's end: the request goes on with a new cookie, and the answer carries it."""
    facts, snapshot = record.facts, record.snapshot
    assert facts is not None and snapshot is not None  # noqa: S101  _wants_renewal
    due = renewal.find_due(facts.headers, snapshot.trust)
    if due is None:
        return send
    try:
        renewed = await renewal.renew(due, facts.client)
    except renewal.RenewalFailed as error:
        logger.warning("a session was not renewed: %s", error)
        return send
    if renewed is None and due.expired:
        return send
    # A session that is over is over at once, whatever is left of its cookie.
    token, set_cookie = (b"", b"") if renewed is None else renewed
    record.facts = facts._replace(headers=renewal.with_cookie(facts.headers, due.token, token))
    if record.decision is not None:
        await _reconsider(record, record.decision)
    return _with_cookie(send, set_cookie) if set_cookie else send


async def _reconsider(record: Record, before: Decision) -> None:
    record.snapshot = snapshot = policy_snapshot.current()
    assert record.facts is not None and snapshot is not None  # noqa: S101
    try:
        decision = decide_again(record.facts, snapshot, before)
    except Exception:
        decision = _gate_failed(record)
    record.decision = decision if isinstance(decision, Decision) else await _decided(record, decision)


def _with_cookie(send: Send, set_cookie: bytes) -> Send:
    own = set_cookie.partition(b"=")[0] + b"="

    async def sending(message: dict[str, Any]) -> None:
        # What the page itself says of this cookie counts: it may have ended the session.
        if message["type"] == "http.response.start" and not any(
            name.lower() == b"set-cookie" and value.startswith(own) for name, value in message["headers"]
        ):
            # No cache keeps what holds somebody's session, whatever the service says of its answer (RFC 9111 7.3).
            kept = [(name, value) for name, value in message["headers"] if not _is_for_caches(name.lower())]
            ours = [(b"cache-control", b"private, no-store"), (b"set-cookie", set_cookie)]
            message = {**message, "headers": [*kept, *ours]}
        await send(message)

    return sending


def _is_for_caches(name: bytes) -> bool:
    return name in _CACHING or name.endswith(b"cdn-cache-control")


async def _decided(record: Record, deciding: Awaitable[Decision]) -> Decision:
    try:
        record.decision = decision = await deciding
    except Exception:
        record.decision = decision = _gate_failed(record)
    return decision


def _gate_failed(record: Record) -> Decision:
    logger.exception("the gate failed on request %s", record.request_id)
    return Decision(False, Reason.GATE_ERROR)
