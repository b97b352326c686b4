"""At the front door: a session near or past its cookie's end gets a new one with the answer to a normal request."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from msgspec.structs import replace

from authgate.decision import Decision
from authgate.observe.access_log import Record
from authgate.sessions import renewal
from proxy.pipeline.downstream import Send

logger = logging.getLogger(__name__)

_CACHING = frozenset((b"cache-control", b"expires", b"pragma", b"surrogate-control"))
_PERSONAL = (settings.AUTHGATE_AUTH_PREFIX, "/admin", "/dashboard")  # of our own pages, those that ask who it is


def is_wanted(record: Record, decision: Decision | None) -> bool:
    facts = record.facts
    if facts is None or record.snapshot is None:
        return False
    if decision is not None:
        return renewal.may_be_due(decision, facts.headers)
    return facts.path.startswith(_PERSONAL) and not facts.path.startswith(settings.STATIC_URL)


async def renew(record: Record, send: Send) -> Send:
    """The request goes on with a new cookie in the record's facts, or none; what is sent by the result carries it."""
    facts, snapshot = record.facts, record.snapshot
    assert facts is not None and snapshot is not None  # noqa: S101  is_wanted
    due = renewal.find_due(facts.headers, snapshot.trust, record.decision)
    if due is None:
        return send
    try:
        renewed = await renewal.renew(due, facts.client)
    except renewal.BeingRefreshed:
        return send
    except renewal.RenewalFailed as error:
        logger.warning("a session was not renewed: %s", error)
        return send
    if renewed is None and due.expired:
        return send
    # A session that is over is over at once, whatever is left of its cookie.
    token, set_cookie = (b"", b"") if renewed is None else renewed
    record.facts = replace(facts, headers=renewal.with_cookie(facts.headers, due.token, token))
    return _with_cookie(send, set_cookie) if set_cookie else send


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
