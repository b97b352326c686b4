"""Is a provider set up so that people can sign in? Each step says what it found, or the exact thing that is wrong."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from authgate.authn.jwk import ALGORITHMS
from authgate.models.people import IdentityProvider
from authgate.oidc import event_endpoint
from authgate.oidc.jwks import fetch_keys
from authgate.oidc.metadata import Metadata, discovery_url, fetch_metadata, load_metadata, needs_discovery
from authgate.oidc.provider import ProviderClient, client_secret_of
from authgate.oidc.signed import LEEWAY
from authgate.outbound.errors import ProviderError
from authgate.outbound.fetch import Answer, get
from authgate.redirect_uri import redirect_uri


class Finding(NamedTuple):
    ok: bool
    what: str
    detail: str


def diagnose(provider: IdentityProvider) -> list[Finding]:
    """Asks the provider anew, not the cache. Raises nothing that a provider can cause."""
    findings = [_try("client", lambda: _client(provider))]
    try:
        metadata = fetch_metadata(provider) if provider.has_id_token else load_metadata(provider)
    except ProviderError as error:
        return [*findings, Finding(False, "discovery", error.detail + (_PRIVATE_CA if error.is_untrusted else ""))]
    findings.append(Finding(True, "discovery", _discovery(provider)))
    findings.append(Finding(True, "endpoints", _endpoints(metadata)))
    if provider.has_id_token:
        findings.append(Finding(True, "issuer", metadata.issuer) if metadata.issuer else _NO_ISSUER)
        findings.append(_try("keys", lambda: _keys(provider, metadata)))
    if provider.poll_endpoint:
        findings.append(_try("events", lambda: event_endpoint.test(provider)))
    findings.append(_try("credentials", lambda: _credentials(provider)))
    findings.append(Finding(True, "claims", _claims(provider, metadata)))
    findings.append(_clock(provider, metadata))
    return findings


# GitHub answers in words of its own.
_CODE_REFUSED = frozenset(("invalid_grant", "bad_verification_code"))
_WRONG_CLIENT = ": the client ID or the client secret is wrong, or the provider wants another way of sending them"
_ADVICE = {
    "invalid_client": _WRONG_CLIENT,
    "incorrect_client_credentials": _WRONG_CLIENT,
    "unauthorized_client": ": allow this client the authorization code flow at the provider",
    "redirect_uri_mismatch": ": register the redirect URI at the provider",
}
_PRIVATE_CA = ". If it was issued by a CA of your own, enter that CA: in /admin/, or by `provider add --ca-file`"
_NO_ISSUER = Finding(False, "issuer", "no issuer is set, so that no ID token can be accepted")


def _try(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(True, what, check())
    except ProviderError as error:
        return Finding(False, what, error.detail)


def _client(provider: IdentityProvider) -> str:
    kind = "confidential, with a secret" if client_secret_of(provider) else "public, with PKCE alone"
    if provider.has_id_token and "openid" not in provider.scopes:
        raise ProviderError("provider_unavailable", "the scope openid is missing, so that no ID token will come")
    return kind


def _discovery(provider: IdentityProvider) -> str:
    if not provider.has_id_token:
        return "none; the endpoints are known"
    return discovery_url(provider) if needs_discovery(provider) else "not needed: all endpoints are given"


def _endpoints(metadata: Metadata) -> str:
    named = {
        "authorization": metadata.authorization_endpoint,
        "token": metadata.token_endpoint,
        "userinfo": metadata.userinfo_endpoint,
        "end session": metadata.end_session_endpoint,
    }
    return ", ".join(f"{name}: {url or 'none'}" for name, url in named.items())


def _keys(provider: IdentityProvider, metadata: Metadata) -> str:
    accepted = ALGORITHMS & metadata.algorithms
    if not accepted:
        raise ProviderError("provider_unavailable", "it announces no signing algorithm that is accepted here")
    keys = fetch_keys(metadata.jwks_uri, provider.ca_certificates)
    usable = [key for key in keys if key.algorithms & accepted]
    if not usable:
        raise ProviderError("provider_unavailable", f"no key for {', '.join(sorted(accepted))} is in its JWKS")
    return f"{len(usable)} usable of {len(keys)}, for {', '.join(sorted(accepted))}"


def _credentials(provider: IdentityProvider) -> str:
    """By a code that the provider cannot have given: whom it knows, it tells that the code is bad (RFC 6749 5.2)."""
    client = ProviderClient(provider)
    try:
        client.exchange(
            f"authgate-test-{secrets.token_urlsafe(16)}", secrets.token_urlsafe(32), redirect_uri(provider.slug)
        )
    except ProviderError as error:
        if error.oauth_error in _CODE_REFUSED:
            return f"accepted: a made-up code was refused with {error.oauth_error}, and the client was not"
        raise ProviderError(error.code, f"{error.detail}{_ADVICE.get(error.oauth_error, '')}") from None
    raise ProviderError("token_exchange_failed", "the token endpoint gave tokens for a made-up code")


def _claims(provider: IdentityProvider, metadata: Metadata) -> str:
    """What a sign-in will need. Which claims really come, only a sign-in shows; one that is refused logs them."""
    email, groups = (provider.claim_mapping.get(name) or name for name in ("email", "groups"))
    needed = ["sub" if provider.has_id_token else provider.claim_mapping.get("sub") or "sub"]
    if provider.require_verified_email or provider.allowed_domains:
        needed.append(str(email))
    if provider.require_verified_email:
        needed.append("email_verified (true)")
    said = f"needed: {', '.join(needed)}; for grants by groups: {groups}"
    missing = {name.partition(" ")[0] for name in needed} - metadata.claims if metadata.claims else frozenset()
    if not missing:
        return said
    return f"{said}; not announced, so that nobody may sign in if it is not sent either: {', '.join(sorted(missing))}"


def _clock(provider: IdentityProvider, metadata: Metadata) -> Finding:
    url = discovery_url(provider) if provider.issuer else metadata.userinfo_endpoint or metadata.token_endpoint
    try:
        answer = get(url, "provider", ca_certificates=provider.ca_certificates)
    except ProviderError as error:
        return Finding(False, "clock", error.detail)
    difference = _seconds_ahead(answer)
    if difference is None:
        return Finding(True, "clock", "the provider does not tell its time")
    words = f"the provider's clock is {abs(difference):.0f} s {'ahead' if difference > 0 else 'behind'}"
    return Finding(abs(difference) <= LEEWAY, "clock", f"{words}; up to {LEEWAY} s are tolerated")


def _seconds_ahead(answer: Answer) -> float | None:
    try:
        return parsedate_to_datetime(answer.headers.get("Date", "")).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
