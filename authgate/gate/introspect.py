"""Tokens that an issuer is asked about: which one, and who its answer says the caller is."""

from __future__ import annotations

import time
from dataclasses import replace

from authgate.authn.credentials import Credential
from authgate.authn.introspection import GOES_ON_SECONDS, prove_answer
from authgate.authn.issuers import Issuer
from authgate.authn.ownership import names_nobody
from authgate.authn.tokens import Kind
from authgate.authn.trust import TrustSnapshot
from authgate.gate.proven import identity_of
from authgate.policy.schema import Route
from authgate.reason import Reason
from authgate.request import Identity, InvalidCredential
from authgate.state.introspection import IssuerUnavailable, asker_of
from authgate.state.newest import newest
from authgate.state.snapshot import Snapshot


def find_asked(credential: Credential, route: Route | None, trust: TrustSnapshot) -> Issuer | None:
    """The one issuer that can be meant by a token that names none; None: it is no such token, or nobody is asked.

    Raises InvalidCredential where several can be meant: a token is shown to nobody but its issuer.
    """
    if credential.by_cookie or (route is not None and route.access == "public"):
        return None  # a public route needs no answer, and an opaque token there may be for its service
    slugs = route.issuers if route is not None else ()
    found = [
        issuer
        for issuer in trust.issuers.values()
        if issuer.introspection is not None and (not slugs or issuer.slug in slugs)
    ]
    if not found or not names_nobody(credential.unverified_token, trust):
        return None
    if len(found) > 1:
        several = ", ".join(sorted(issuer.slug for issuer in found))
        raise InvalidCredential(Reason.ISSUER_UNCLEAR, f"it may be a token of {several}: name one on the route")
    return found[0]


def introspected_key(credential: Credential, issuer: Issuer) -> tuple[Kind, bytes]:
    """Of the cache: what one issuer says of a token is nothing that another one has said."""
    kind, digest = credential.key
    return kind, digest + issuer.slug.encode("ascii")


async def state_of_now() -> Snapshot:
    """After a wait, in which the issuer or the token may have been taken away. Raises InvalidCredential."""
    snapshot = await newest()
    if snapshot is None or not snapshot.knows_credentials:
        raise InvalidCredential(Reason.TRUST_UNKNOWN)
    return snapshot


async def introspect(credential: Credential, issuer: Issuer, before: Snapshot) -> Identity:
    """Raises InvalidCredential."""
    token = credential.unverified_token
    try:
        told = await asker_of(issuer).ask(token, issuer, before.trust)
    except IssuerUnavailable:
        raise InvalidCredential(Reason.ISSUER_UNAVAILABLE) from None
    snapshot = await state_of_now()
    of_now = snapshot.trust.issuers.get(issuer.issuer)
    if of_now is None or of_now.slug != issuer.slug:
        raise InvalidCredential(Reason.INVALID_TOKEN, "its issuer was removed meanwhile")
    if (of_now.introspection, of_now.source) != (issuer.introspection, issuer.source):
        raise InvalidCredential(Reason.ISSUER_UNAVAILABLE)  # the answer is not that of whom we would ask now
    if told.claims is None:
        raise InvalidCredential(Reason.TOKEN_INACTIVE)
    proven = prove_answer(token, told.claims, of_now, time.time())
    identity = identity_of(proven, of_now.slug, of_now.issuer, snapshot)
    seconds = of_now.introspection.seconds if of_now.introspection is not None else 0
    until = int(told.asked_at) + (seconds or GOES_ON_SECONDS)
    identity = replace(identity, expires_at=min(identity.expires_at, until))
    if seconds:
        snapshot.identities.put(introspected_key(credential, of_now), identity)
    return identity
