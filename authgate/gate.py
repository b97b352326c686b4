"""The gate: from the facts of a request to a decision. Every door calls `decide` and adds nothing to it."""

from __future__ import annotations

from authgate.authn.authenticate import authenticate
from authgate.cross_site import is_cross_site
from authgate.decision import Decision, Identity, InvalidCredential, Reason, RequestFacts
from authgate.policy.rules import evaluate_access
from authgate.policy.snapshot import Snapshot
from authgate.policy.table import Limit, RouteEntry
from authgate.ratelimit import client_key, take
from authgate.target import careless_path

_ALLOWING = frozenset((Reason.PUBLIC, Reason.AUTHENTICATED, Reason.ROLE))


async def decide(facts: RequestFacts, snapshot: Snapshot | None) -> Decision:
    """Match, limit, authenticate, authorize. Never raises for "no"; suspends only for a limit kept in Redis."""
    if snapshot is None:
        return Decision(False, Reason.NO_POLICY)
    revision = snapshot.revision
    entry = snapshot.table.match(facts.authority.host, facts.path, facts.method)
    if entry is None:
        return Decision(False, Reason.NO_ROUTE, revision)
    if _has_second_reading(facts, entry, snapshot):
        return Decision(False, Reason.BAD_TARGET, revision, entry)
    limit = entry.limit
    # Before the credential is looked at, so that guessing tokens is limited too.
    if limit is not None and limit.per != "subject":
        wait = take(limit, _limit_key(limit, entry, facts, None))
        if not isinstance(wait, float):
            wait = await wait
        if wait:
            return _limited(wait, revision, entry, None)
    try:
        identity = _authenticate(facts, entry, snapshot)
    except InvalidCredential as refused:
        return Decision(False, refused.reason, revision, entry)
    if limit is not None and limit.per == "subject":
        wait = take(limit, _limit_key(limit, entry, facts, identity))
        if not isinstance(wait, float):
            wait = await wait
        if wait:
            return _limited(wait, revision, entry, identity)
    reason = evaluate_access(entry, identity)
    missing = tuple(sorted(entry.roles)) if reason is Reason.MISSING_ROLE else ()
    return Decision(reason in _ALLOWING, reason, revision, entry, identity, 0, missing)


def _has_second_reading(facts: RequestFacts, entry: RouteEntry, snapshot: Snapshot) -> bool:
    """Whether an application could take the path for one that another route decides ("/public/admin%3Bx", "/Admin")."""
    path, host, method, table = facts.path, facts.authority.host, facts.method, snapshot.table
    if table.is_plain and path.islower() and "%" not in path and "." not in path and path[-1] != "/":
        return False  # by far most paths: spelt in one way, and read in one way
    reading = careless_path(path)
    if reading != path and table.match(host, reading, method) not in (None, entry):
        return True
    return table.has_closer(entry, host, reading, method)


def _authenticate(facts: RequestFacts, entry: RouteEntry, snapshot: Snapshot) -> Identity | None:
    try:
        identity = authenticate(facts.headers, snapshot)
    except InvalidCredential:
        # A public route asks for no credential, so a stale cookie must not shut it; the caller is nobody there.
        if entry.access == "public":
            return None
        raise
    # The browser sends a cookie whoever wrote the page; a bearer token is sent on purpose.
    if identity is not None and identity.credential == "session" and is_cross_site(facts):
        if entry.access == "public":
            return None
        raise InvalidCredential(Reason.CROSS_SITE)
    return identity


def _limit_key(limit: Limit, entry: RouteEntry, facts: RequestFacts, identity: Identity | None) -> str:
    if limit.per == "route":
        return f"route {entry.name}"
    if identity is not None:
        return f"subject {identity.issuer} {identity.subject}"
    return f"client {client_key(facts.client)}"


def _limited(wait: float, revision: int, entry: RouteEntry, identity: Identity | None) -> Decision:
    return Decision(False, Reason.RATE_LIMITED, revision, entry, identity, max(1, int(-(-wait // 1))))
