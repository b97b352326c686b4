"""Is an issuer set up so that its tokens are taken? Each step says what it found, or the exact thing that is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable

from authgate.authn.compact import NotCompact, read_compact, read_object
from authgate.authn.foreign import KeysWanted, verify_foreign
from authgate.authn.issuers import Issuer, KeyRing
from authgate.authn.jwk import PublicKey
from authgate.models.issuers import TokenIssuer
from authgate.oidc import event_endpoint
from authgate.oidc.diagnose import Finding
from authgate.outbound.errors import ProviderError
from authgate.request import InvalidCredential
from authgate.state.issuer_keys import discover, fetch_keys
from authgate.state.trust import issuer_of, row_of
from authgate.wire.refusal import refusal_of


def diagnose(issuer: TokenIssuer, token: str = "") -> list[Finding]:
    """Asks the issuer anew. Raises nothing that it can cause. `token`: an access token, to be judged."""
    row = row_of(issuer)
    ring = KeyRing()
    findings = []
    if issuer.strategy != TokenIssuer.Strategy.INTROSPECTION:
        findings.append(_try("keys", lambda: _keys(issuer, ring)))
    if issuer.strategy != TokenIssuer.Strategy.JWT:
        findings.append(_try("introspection", lambda: _endpoint(issuer)))
    findings.append(Finding(True, "audience", f"a token must be for {' or '.join(issuer.audiences)}"))
    if issuer.poll_endpoint:
        findings.append(_try("events", lambda: event_endpoint.test(issuer)))
    if token:
        findings.append(_judge(token, issuer_of(row, ring)))
    return findings


def _try(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(True, what, check())
    except ProviderError as error:
        return Finding(False, what, error.detail)


def _keys(issuer: TokenIssuer, ring: KeyRing) -> str:
    found = fetch_keys(row_of(issuer).source)
    ring.keys = found.keys
    usable = [key for key in found.keys if key.algorithms & set(issuer.algorithms)]
    if not usable:
        wanted = ", ".join(issuer.algorithms)
        raise ProviderError("provider_unavailable", f"no key for {wanted} is among {_named(found.keys)}")
    ignored = f"; {found.ignored} others are of no use" if found.ignored else ""
    return f"{len(usable)} usable: {_named(usable)}{ignored}"


def _named(keys: list[PublicKey] | tuple[PublicKey, ...]) -> str:
    return ", ".join(f"{key.kid or 'without kid'} ({'/'.join(sorted(key.algorithms))})" for key in keys) or "none"


def _endpoint(issuer: TokenIssuer) -> str:
    given = issuer.introspection_endpoint
    return given or discover(issuer.issuer, issuer.ca_certificates, "introspection_endpoint")


def _judge(token: str, issuer: Issuer) -> Finding:
    raw = token.strip().encode("ascii", "replace")
    try:
        unverified = read_compact(raw)
        unverified_claims = read_object(unverified.unverified_payload)
    except NotCompact as error:
        return Finding(False, "token", f"it is not a signed JWT: {error}")
    if unverified_claims.get("iss") != issuer.issuer:
        return Finding(False, "token", "its iss is not the text of this issuer, to the letter")
    try:
        proven = verify_foreign(raw, unverified, unverified_claims, issuer, time.time())
    except KeysWanted:
        return Finding(False, "token", "none of the issuer's keys has its kid and alg")
    except InvalidCredential as refused:
        return Finding(False, "token", f"{refused.reason}: {refused.rule or refusal_of(refused.reason).message}")
    roles = ", ".join(sorted(proven.roles)) or "none of its own"
    scopes = " ".join(sorted(proven.scopes)) or "none"
    return Finding(True, "token", f"good: subject {proven.subject}, roles {roles}, scopes {scopes}")
