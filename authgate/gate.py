"""The gate: from the facts of a request to a decision. Every door calls `decide` and adds nothing to it."""

from __future__ import annotations

from authgate.authn.authenticate import authenticate
from authgate.cross_site import is_cross_site
from authgate.decision import Decision, Identity, InvalidCredential, Reason, RequestFacts
from authgate.policy.rules import evaluate_access
from authgate.policy.snapshot import REMEMBERED_LENGTH, Snapshot
from authgate.policy.table import RouteEntry
from authgate.ratelimit import client_key, take

_ALLOWING = frozenset((Reason.PUBLIC, Reason.AUTHENTICATED, Reason.ROLE))
_MISSING_ROLE = Reason.MISSING_ROLE


async def decide(facts: RequestFacts, snapshot: Snapshot | None) -> Decision:
    """Match, limit, authenticate, authorize. Never raises for "no"; suspends only for a limit kept in Redis."""
    if snapshot is None:
        return Decision(False, Reason.NO_POLICY)
    revision = snapshot.revision
    find = snapshot.find if len(facts.path) <= REMEMBERED_LENGTH else snapshot.table.find
    entry, has_second_reading = find(facts.authority.host, facts.path, facts.method)
    if entry is None:
        return Decision(False, Reason.NO_ROUTE, revision)
    if has_second_reading:
        return Decision(False, Reason.BAD_TARGET, revision, entry)
    limit = entry.limit
    # Before the credential is looked at, so that guessing tokens is limited too.
    if limit is not None and limit.per != "subject":
        key = f"route {entry.name}" if limit.per == "route" else f"client {client_key(facts.client)}"
        wait = take(limit, key)
        if wait and (wait := wait if isinstance(wait, float) else await wait):
            return _limited(wait, revision, entry, None)
    try:
        identity = authenticate(facts.headers, snapshot)
        # The browser sends a cookie whoever wrote the page; a bearer token is sent on purpose.
        if identity is not None and identity.credential == "session" and is_cross_site(facts):
            raise InvalidCredential(Reason.CROSS_SITE)
    except InvalidCredential as refused:
        if entry.access != "public":
            return Decision(False, refused.reason, revision, entry)
        # A public route asks for no credential, so a stale cookie must not shut it; the caller is nobody there.
        identity = None
    if limit is not None and limit.per == "subject":
        wait = take(limit, _subject_key(facts, identity))
        if wait and (wait := wait if isinstance(wait, float) else await wait):
            return _limited(wait, revision, entry, identity)
    reason = evaluate_access(entry, identity)
    if reason is _MISSING_ROLE:
        return Decision(False, reason, revision, entry, identity, 0, tuple(sorted(entry.roles)))
    return Decision(reason in _ALLOWING, reason, revision, entry, identity)


def _subject_key(facts: RequestFacts, identity: Identity | None) -> str:
    if identity is None:
        return f"client {client_key(facts.client)}"
    return f"subject {identity.issuer} {identity.subject}"


def _limited(wait: float, revision: int, entry: RouteEntry, identity: Identity | None) -> Decision:
    return Decision(False, Reason.RATE_LIMITED, revision, entry, identity, max(1, int(-(-wait // 1))))
