"""The gate: from the facts of a request to a decision. Every door calls `decide` and adds nothing to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from authgate.decision import Decision
from authgate.gate.authenticate import authenticate
from authgate.gate.cross_site import is_cross_site
from authgate.policy.rules import evaluate_access
from authgate.policy.table import Limit, RouteEntry, takes_as_sent
from authgate.ratelimit import client_key, guesses, take
from authgate.reason import LETTING_IN, Reason
from authgate.request import Identity, InvalidCredential, RequestFacts
from authgate.state.snapshot import REMEMBERED_LENGTH, Snapshot

_MISSING_ROLE = Reason.MISSING_ROLE
# Of a credential: not even that the gateway has ever made it.
_PROVES_NOTHING = frozenset(
    (Reason.MALFORMED_CREDENTIAL, Reason.INVALID_TOKEN, Reason.BAD_SIGNATURE, Reason.UNKNOWN_KEY)
)


def decide(facts: RequestFacts, snapshot: Snapshot | None) -> Decision | Awaitable[Decision]:
    """Match, limit, authenticate, authorize. Never raises for "no". Awaitable only while Redis is asked for a limit."""
    if snapshot is None:
        return Decision(False, Reason.NO_POLICY)
    find = snapshot.find if len(facts.path) <= REMEMBERED_LENGTH else snapshot.table.find
    entry, has_second_reading = find(facts.authority.host, facts.path, facts.method)
    # Read for a route that took it; by the policy of now it may belong to another one, or to none.
    if facts.as_sent and not takes_as_sent(entry, facts.path):
        return Decision(False, Reason.BAD_TARGET, snapshot.revision, entry)
    if entry is None:
        return Decision(False, Reason.NO_ROUTE, snapshot.revision)
    if has_second_reading:
        return Decision(False, Reason.BAD_TARGET, snapshot.revision, entry)
    limit = entry.limit
    if limit is None:
        return _admit(facts, snapshot, entry)
    if limit.per == "subject":
        return _admit_limited(facts, snapshot, entry, limit)
    # Before the credential is looked at, so that guessing tokens is limited too.
    wait = take(limit, f"route {entry.name}" if limit.per == "route" else f"client {client_key(facts.client)}")
    if wait:
        return _unless_limited(wait, snapshot.revision, entry, None, lambda: _admit(facts, snapshot, entry))
    return _admit(facts, snapshot, entry)


def decide_again(facts: RequestFacts, snapshot: Snapshot, before: Decision) -> Decision | Awaitable[Decision]:
    """With another credential in `facts`. The limits that `before` counted are not counted twice."""
    entry = before.route
    if before.reason is Reason.RATE_LIMITED:
        return before
    if entry is None or before.revision != snapshot.revision:
        return decide(facts, snapshot)
    limit = entry.limit
    if limit is not None and limit.per == "subject" and before.identity is None:
        return _admit_limited(facts, snapshot, entry, limit)
    return _admit(facts, snapshot, entry)


def _admit(facts: RequestFacts, snapshot: Snapshot, entry: RouteEntry) -> Decision:
    who = _identify(facts, snapshot, entry)
    if isinstance(who, Reason):
        return Decision(False, who, snapshot.revision, entry)
    return _authorize(facts, snapshot.revision, entry, who)


def _admit_limited(
    facts: RequestFacts, snapshot: Snapshot, entry: RouteEntry, limit: Limit
) -> Decision | Awaitable[Decision]:
    # A client that guesses is refused before its next credential is looked at: it may be the right one.
    if left := guesses.seconds_left(limit, facts.client):
        return _limited(left, snapshot.revision, entry, None)
    who = _identify(facts, snapshot, entry)
    if isinstance(who, Reason):
        if who in _PROVES_NOTHING and (left := guesses.count(limit, facts.client)):
            return _limited(left, snapshot.revision, entry, None)
        return Decision(False, who, snapshot.revision, entry)
    wait = take(limit, _subject_key(facts, who))
    if wait:
        return _unless_limited(
            wait, snapshot.revision, entry, who, lambda: _authorize(facts, snapshot.revision, entry, who)
        )
    return _authorize(facts, snapshot.revision, entry, who)


def _identify(facts: RequestFacts, snapshot: Snapshot, entry: RouteEntry) -> Identity | Reason | None:
    """A Reason: the credential is not good."""
    try:
        identity = authenticate(facts.headers, snapshot, entry.pass_authorization)
        # The browser sends a cookie whoever wrote the page; a bearer token is sent on purpose. One that is not ours is
        # no proof of that: the cookie is what lets in then, and so it is judged like any other.
        if identity is not None and identity.by_cookie and is_cross_site(facts):
            raise InvalidCredential(Reason.CROSS_SITE)
    except InvalidCredential as refused:
        # A public route asks for no credential, so a stale cookie must not shut it; the caller is nobody there.
        return None if entry.access == "public" else refused.reason
    return identity


def _authorize(facts: RequestFacts, revision: int, entry: RouteEntry, identity: Identity | None) -> Decision:
    reason = evaluate_access(entry, identity)
    if facts.wants_upgrade and reason in LETTING_IN:
        # The service would answer a plain request, and the client wait for a protocol that never begins.
        reason = Reason.UPGRADE_NOT_SUPPORTED
    missing = tuple(sorted(entry.roles)) if reason is _MISSING_ROLE else ()
    return Decision(reason in LETTING_IN, reason, revision, entry, identity, 0, missing)


def _unless_limited(
    wait: float | Awaitable[float],
    revision: int,
    entry: RouteEntry,
    identity: Identity | None,
    go_on: Callable[[], Decision],
) -> Decision | Awaitable[Decision]:
    if isinstance(wait, float):
        return _limited(wait, revision, entry, identity)

    async def answered() -> Decision:
        seconds = await wait
        return _limited(seconds, revision, entry, identity) if seconds else go_on()

    return answered()


def _subject_key(facts: RequestFacts, identity: Identity | None) -> str:
    if identity is None:
        return f"client {client_key(facts.client)}"
    return f"subject {identity.issuer} {identity.subject}"


def _limited(wait: float, revision: int, entry: RouteEntry, identity: Identity | None) -> Decision:
    return Decision(False, Reason.RATE_LIMITED, revision, entry, identity, max(1, int(-(-wait // 1))))
