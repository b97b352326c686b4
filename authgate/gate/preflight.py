"""Requests of scripts from other origins (CORS): what browsers ask before they send one, and what its script may read.

Nobody is let in by this: a browser that is told no keeps an answer from a script, and everything else ignores it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from authgate.decision import Allowed, Decision, Denied
from authgate.policy.shaping import CorsRules
from authgate.policy.table import Found, RouteEntry
from authgate.reason import LETTING_IN, Reason
from authgate.request import RequestFacts
from authgate.state.snapshot import Snapshot
from authgate.wire.headers import RawHeaders

_METHOD = b"access-control-request-method"
# No browser sends these with a preflight (Fetch 4.8), so whatever has one is another request: a service that is sent
# preflights unauthenticated gets nothing else in this way.
_NEVER_THERE = (b"cookie", b"authorization", b"dpop", b"transfer-encoding")
_is_method = re.compile(rb"[A-Z][A-Z-]{0,31}").fullmatch


def is_preflight(facts: RequestFacts) -> bool:
    headers = facts.headers
    return (
        facts.method == "OPTIONS"
        and not facts.wants_upgrade
        and len(headers.values(b"origin")) == 1
        and len(methods := headers.values(_METHOD)) == 1
        and _is_method(methods[0]) is not None
        and headers.values(b"content-length") in ((), (b"0",))
        and not any(headers.values(name) for name in _NEVER_THERE)
    )


def find_asked_about(
    facts: RequestFacts, find: Callable[[str, str, str], Found], entry: RouteEntry | None, has_second_reading: bool
) -> tuple[RouteEntry | None, bool, bool]:
    """The route of the request that the browser wants to send, with its second reading; and whether that route answers
    preflights. A route that names OPTIONS gets them as any other request. Otherwise what was found for OPTIONS.
    """
    if entry is None or "OPTIONS" not in entry.route.methods:
        method = facts.headers.values(_METHOD)[0].decode("latin-1")
        asked, has_second = find(facts.authority.host, facts.path, method)
        if asked is not None and asked.cors is not None:
            return asked, has_second, True
    elif entry.cors is not None:
        return entry, has_second_reading, True
    return entry, has_second_reading, False


def answer_preflight(facts: RequestFacts, snapshot: Snapshot, entry: RouteEntry) -> Decision:
    if entry.reason not in LETTING_IN or entry.cors is None:
        return Denied(entry.reason, snapshot.revision, entry)
    if entry.cors.origins is None:
        return Allowed(facts, snapshot, entry, None, Reason.CORS_PREFLIGHT)
    is_named = entry.cors.is_any or facts.headers.values(b"origin")[0] in entry.cors.origins
    rule = "" if is_named else "its origin is not one of the route's cors.origins"
    return Denied(Reason.CORS_PREFLIGHT, snapshot.revision, entry, allowed=is_named, rule=rule)


def may_use_session(facts: RequestFacts, entry: RouteEntry) -> bool:
    """Whether scripts of the origin that sent this may act as whoever is signed in."""
    cors, origin = entry.cors, facts.headers.values(b"origin")
    return cors is not None and cors.credentials and len(origin) == 1 and origin[0] in (cors.origins or ())


def cors_headers(cors: CorsRules, headers: RawHeaders, *, is_preflight: bool = False) -> RawHeaders:
    """Of an answer to a request with these headers."""
    origins = [value for name, value in headers if name == b"origin"]
    return cors.headers_for(origins[0] if len(origins) == 1 else None, is_preflight=is_preflight)
