"""Whether what was let in may go on, by the state of now: for WebSockets and streams, which outlive their decision."""

from __future__ import annotations

from dataclasses import replace

from authgate.gate.authenticate import MustAsk, authenticate, is_still_known
from authgate.gate.service_tokens import identity_of_now
from authgate.policy.rules import evaluate_access, roles_by
from authgate.policy.schema import Upstream, UpstreamTls
from authgate.policy.table import RouteEntry, takes_as_sent
from authgate.reason import LETTING_IN, Reason
from authgate.request import Identity, InvalidCredential, RequestFacts
from authgate.state.newest import newest
from authgate.state.snapshot import Snapshot
from authgate.wire.headers import Headers


def objection(
    facts: RequestFacts, entry: RouteEntry, target: str, identity: Identity | None, snapshot: Snapshot
) -> Reason | None:
    """What ends it, of a caller that was let in by `entry` and is connected to `target`. Not asked: whether the
    credential has expired, and what was counted or proven once (limits, DPoP)."""
    if identity is not None and not is_still_known(identity, snapshot.trust):
        return Reason.TOKEN_REVOKED
    found, has_second_reading = snapshot.table.find(facts.authority.host, facts.path, facts.method)
    if found is None or has_second_reading or (facts.as_sent and not takes_as_sent(found, facts.path)):
        return Reason.NO_ROUTE
    if found.route.upstream != entry.route.upstream or (facts.wants_upgrade and found.mcp is not None):
        return Reason.NO_ROUTE  # to this service, or not in this way
    if identity is not None and identity.terms is not None:
        identity = identity_of_now(identity.terms, snapshot, by_basic=identity.by_basic)
        if identity.terms is not None and (refusal := identity.terms.refusal(facts.client, found.route.name)):
            return refusal
    elif identity is not None:
        roles = roles_by(snapshot.grants, identity.claims, identity.granted_as, identity.own_roles)
        identity = replace(identity, roles=roles)
    reason = evaluate_access(found, identity)
    if reason not in LETTING_IN:
        return reason
    # The caller may come back: another target serves it, or this one by the settings of now.
    return None if _leads_to(found.upstream, target, entry.upstream.tls) else Reason.UPSTREAM_UNREACHABLE


def _leads_to(upstream: Upstream, target: str, tls: UpstreamTls) -> bool:
    return target in upstream.targets and (upstream.tls == tls or not target.startswith("https:"))


async def prove_again(headers: Headers, entry: RouteEntry) -> Identity | None:
    """The caller, when what was known of the credential is too old. Raises InvalidCredential.

    A token whose issuer is asked, and that is bound to a key, ends here: there is no proof of possession left to ask.
    """
    snapshot = await newest()
    if snapshot is None:
        raise InvalidCredential(Reason.TRUST_UNKNOWN)
    try:
        return authenticate(headers, snapshot, entry.route)
    except MustAsk as question:
        return await question.ask()
