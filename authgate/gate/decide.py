"""The gate: from the facts of a request to a decision. Every door runs `decide` and adds nothing to it."""

from __future__ import annotations

from math import ceil

from authgate.decision import Allowed, Decision, Denied, retry_seconds
from authgate.gate.authenticate import MustAsk, authenticate
from authgate.gate.cross_site import is_cross_site
from authgate.gate.destination import DESTINED, leads_away
from authgate.gate.preflight import answer_preflight, find_asked_about, is_preflight, may_use_session
from authgate.gate.service_tokens import use
from authgate.gate.steps import Prove, Steps, Take
from authgate.gate.upgrade import refuse_upgrade
from authgate.gate.whole_trees import WHOLE_TREE, takes_too_much
from authgate.policy.rules import evaluate_access
from authgate.policy.table import Limit, RouteEntry, takes_as_sent
from authgate.ratelimit import client_key, guesses
from authgate.reason import LETTING_IN, Reason
from authgate.request import Identity, InvalidCredential, RequestFacts
from authgate.state.snapshot import REMEMBERED_LENGTH, Snapshot

_MISSING_ROLE = Reason.MISSING_ROLE
# Of a credential: not even that the gateway has ever made it.
_PROVES_NOTHING = frozenset(
    (
        Reason.MALFORMED_CREDENTIAL,
        Reason.INVALID_TOKEN,
        Reason.BAD_SIGNATURE,
        Reason.UNKNOWN_KEY,
        Reason.WRONG_ISSUER,
        Reason.TOKEN_INACTIVE,
        Reason.WRONG_TYPE,
        # A token alone, without its key, is what a thief has.
        Reason.PROOF_REQUIRED,
        Reason.BAD_PROOF,
    )
)


def decide(facts: RequestFacts, snapshot: Snapshot | None, before: Decision | None = None) -> Steps[Decision]:
    """Match, limit, authenticate, authorize. Never raises for "no".

    `before`: what was decided of the same request with another credential. Limits that it counted are not counted
    twice.
    """
    if snapshot is None:
        return Denied(Reason.NO_POLICY)
    if before is not None and before.reason is Reason.RATE_LIMITED:
        return before
    revision = snapshot.revision
    find = snapshot.find if len(facts.path) <= REMEMBERED_LENGTH else snapshot.table.find
    entry, has_second_reading = find(facts.authority.host, facts.path, facts.method)
    asks_first = False
    if snapshot.table.has_cors and is_preflight(facts):
        entry, has_second_reading, asks_first = find_asked_about(facts, find, entry, has_second_reading)
    # Read for a route that took it; by the policy of now it may belong to another one, or to none.
    if facts.as_sent and not takes_as_sent(entry, facts.path):
        return Denied(Reason.BAD_TARGET, revision, entry)
    if entry is None:
        return Denied(Reason.NO_ROUTE, revision)
    if has_second_reading:
        return Denied(Reason.BAD_TARGET, revision, entry)

    limit = entry.limit if before is None else _uncounted(entry, before)
    subject_limit = None
    if limit is not None:
        if limit.per == "subject":
            subject_limit = limit
            # A client that guesses is refused before its next credential is looked at: it may be the right one.
            wait = guesses.seconds_left(limit, facts.client)
        else:
            # Before the credential is looked at, so that guessing tokens is limited too.
            whose = f"route {entry.route.name}" if limit.per == "route" else f"client {client_key(facts.client)}"
            wait = yield Take(limit, whose)
        if wait:
            return _limited(wait, revision, entry)

    if asks_first:
        wait = (yield Take(subject_limit, _subject_key(facts, None))) if subject_limit is not None else 0
        return _limited(wait, revision, entry) if wait else answer_preflight(facts, snapshot, entry)

    try:
        try:
            identity = _identify(facts, snapshot, entry)
        except MustAsk as question:
            identity = yield Prove(question.ask)
    except InvalidCredential as refused:
        if entry.route.access != "public":
            guess = subject_limit if refused.reason in _PROVES_NOTHING else None
            if guess is not None and (wait := guesses.count(guess, facts.client)):
                return _limited(wait, revision, entry)
            return Denied(refused.reason, revision, entry, retry_after=retry_seconds(refused.reason), rule=refused.rule)
        # A public route asks for no credential, so a stale cookie must not shut it; the caller is nobody there.
        identity = None

    if identity is not None and identity.terms is not None:
        refusal = use(identity.terms, facts.client, entry.route.name)
        if refusal is not None and entry.route.access != "public":
            return Denied(refusal, revision, entry, identity)
        identity = identity if refusal is None else None

    if subject_limit is not None:
        wait = yield Take(subject_limit, _subject_key(facts, identity))
        if wait:
            return _limited(wait, revision, entry, identity)

    reason = evaluate_access(entry, identity)
    if reason not in LETTING_IN:
        missing = tuple(sorted(entry.roles)) if reason is _MISSING_ROLE else ()
        return Denied(reason, revision, entry, identity, missing_roles=missing)
    if facts.wants_upgrade and (unfit := refuse_upgrade(facts, entry)) is not None:
        return Denied(unfit[0], revision, entry, identity, rule=unfit[1])
    if entry.route.redirect is not None:
        return Denied(Reason.REDIRECT, revision, entry, identity, allowed=True)
    if facts.method in DESTINED and (rule := leads_away(facts, snapshot, entry)):
        return Denied(Reason.WRONG_DESTINATION, revision, entry, identity, rule=rule)
    if facts.method in WHOLE_TREE and (rule := takes_too_much(facts, snapshot, entry, identity)):
        return Denied(Reason.PROTECTED_BELOW, revision, entry, identity, rule=rule)
    return Allowed(facts, snapshot, entry, identity, reason)


def _uncounted(entry: RouteEntry, before: Decision) -> Limit | None:
    """The route's limit, unless `before` has counted it. An entry lives as long as its revision."""
    limit = entry.limit
    if limit is None or before.entry is not entry or (limit.per == "subject" and before.identity is None):
        return limit
    return None


def _subject_key(facts: RequestFacts, identity: Identity | None) -> str:
    if identity is None:
        return f"client {client_key(facts.client)}"
    return f"subject {identity.issuer} {identity.subject}"


def _identify(facts: RequestFacts, snapshot: Snapshot, entry: RouteEntry) -> Identity | None:
    """Raises InvalidCredential."""
    identity = authenticate(facts.headers, snapshot, entry.route, facts)
    # The browser sends a cookie whoever wrote the page, and so it does with a password that was once typed; a bearer
    # token is sent on purpose. One that is not ours is no proof of that: the cookie is what lets in then, and so it is
    # judged like any other.
    if identity is not None and identity.is_ambient and is_cross_site(facts) and not may_use_session(facts, entry):
        raise InvalidCredential(Reason.CROSS_SITE)
    return identity


def _limited(seconds: float, revision: int, entry: RouteEntry, identity: Identity | None = None) -> Denied:
    return Denied(Reason.RATE_LIMITED, revision, entry, identity, retry_after=max(1, ceil(seconds)))
