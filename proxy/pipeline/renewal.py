"""At the front door: a session near or past its cookie's end gets a new one with the answer to a normal request."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from django.conf import settings
from msgspec.structs import replace

from authgate.observe.access_log import Record
from authgate.own_pages import own_pages
from authgate.request import RequestFacts
from authgate.sessions import renewal
from authgate.wire.target import is_below
from proxy.pipeline.downstream import Send
from proxy.pipeline.enter import Entered, enter_again
from proxy.pipeline.own_pages import OwnPage

logger = logging.getLogger(__name__)

_CACHING = frozenset((b"cache-control", b"expires", b"pragma", b"surrogate-control"))
_personal = [page.path for page in own_pages(settings.AUTHGATE_AUTH_PREFIX) if page.is_personal]


class Wanted(NamedTuple):
    """The request carries a session cookie that is due."""

    facts: RequestFacts
    due: renewal.Due


def find_wanted(record: Record, entered: Entered) -> Wanted | None:
    facts, snapshot = record.facts, record.snapshot
    if facts is None or snapshot is None:
        return None
    decision = None if isinstance(entered, OwnPage) else entered
    may_be = renewal.may_be_due(decision, facts.headers) if decision is not None else _is_personal(facts.path)
    due = renewal.find_due(facts.headers, facts.authority.host, snapshot.trust, decision) if may_be else None
    return Wanted(facts, due) if due is not None else None


async def renew(wanted: Wanted, send: Send) -> tuple[Send, RequestFacts | None]:
    """How to answer, and the request with another cookie or none. None: it goes on as it is."""
    facts, due = wanted
    try:
        renewed = await renewal.renew(due, facts.client)
    except renewal.BeingRefreshed:
        return send, None
    except renewal.RenewalFailed as error:
        logger.warning("a session was not renewed: %s", error)
        return send, None
    if renewed is None and due.expired:
        return send, None
    # A session that is over is over at once, whatever is left of its cookie.
    token, set_cookie = (b"", b"") if renewed is None else renewed
    changed = replace(facts, headers=renewal.with_cookie(facts.headers, due.token, token))
    return _with_cookie(send, set_cookie) if set_cookie else send, changed


async def enter_renewed(record: Record, wanted: Wanted, entered: Entered) -> Entered:
    """The same request with a living session; without any, if it cannot be renewed."""
    facts, due = wanted
    token = b""
    try:
        if (renewed := await renewal.renew(due, facts.client)) is not None:
            token = renewed.token
    except renewal.NotRenewed as error:
        logger.warning("a session was not renewed: %s", error)
    return await enter_again(
        record, replace(facts, headers=renewal.with_cookie(facts.headers, due.token, token)), entered
    )


def _is_personal(path: str) -> bool:
    return any(is_below(path, page) for page in _personal)


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
