"""The front door: the whole path of a request. Nothing is decided here; the gate decides."""

from __future__ import annotations

from typing import Any

from authgate.decision import Allowed
from authgate.gate.facts import received_from
from authgate.observe import strangers
from authgate.observe.access_log import Record, new_request_id
from authgate.pages.responses import send_refusal
from proxy.pipeline import lifespan, own_pages, renewal
from proxy.pipeline.carry import carry
from proxy.pipeline.downstream import Receive, Send
from proxy.pipeline.enter import Entered, enter, enter_again, state_of
from proxy.pipeline.lifespan import run_lifespan
from proxy.pipeline.own_pages import OwnPage


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await run_lifespan(receive, send)
    elif scope["type"] == "http":
        record = scope.get("state", {}).get("record") or new_record(scope)
        try:
            await serve(scope, receive, send, record)
        finally:
            lifespan.end(record)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": "not carried here"})


def new_record(scope: dict[str, Any]) -> Record:
    record = Record(new_request_id())
    scope["state"] = state_of(record)
    return record


async def serve(scope: dict[str, Any], receive: Receive, send: Send, record: Record) -> None:
    entered: Entered = scope["state"].get("entered") or await enter(record, received_from(scope))
    strangers.cause.set(record.cause)
    if (wanted := renewal.find_wanted(record, entered)) is not None:
        send, facts = await renewal.renew(wanted, send)
        if facts is not None:
            entered = await enter_again(record, facts, entered)
    if isinstance(entered, Allowed):
        await carry(entered, record, scope, receive, send)
    elif isinstance(entered, OwnPage):
        await own_pages.serve(entered, scope, receive, send, record)
    elif (page := own_pages.find_unrouted(record, entered)) is not None:
        await own_pages.serve_unrouted(page, scope, receive, send, record)
    else:
        await send_refusal(record, entered, send, unread=scope)
