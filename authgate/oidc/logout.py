"""Signing out by way of the provider: its own word that somebody is gone, and ours to it."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from django.conf import settings
from django.db import IntegrityError, transaction

from authgate.authn.claims import LATEST, is_safe_text
from authgate.models import IdentityProvider, Session, UsedOnce
from authgate.oidc.errors import ProviderError
from authgate.oidc.id_token import LEEWAY, check_form, is_subject, verify_signed
from authgate.oidc.provider import ProviderClient
from authgate.sealing import SealBroken, unseal_text
from authgate.sessions import store

_EVENT = "http://schemas.openid.net/event/backchannel-logout"
# Old providers name none of their own, or the one of every JWT; `events` is what no other token has (section 2.4).
_TYPES = frozenset(("logout+jwt", "jwt"))
_MAX_BODY = 64 * 1024
_MAX_AGE = 600
_MAX_HINT = 4096  # of a URL that servers still take


def backchannel(slug: str, body: bytes) -> int:
    """OpenID Connect Back-Channel Logout 1.0: how many sessions have ended. Raises ProviderError: answer 400."""
    provider = _provider(slug)
    raw = _logout_token(body)
    claims = _verified(raw, provider)
    expires_at = _check_time(claims, time.time())
    whose = _whose(claims)
    with transaction.atomic():
        _use_up(slug, claims["jti"], expires_at)
        return store.end_where("signed out at the provider", person__provider=provider, **whose)


def frontchannel(slug: str, unverified_issuer: str, unverified_sid: str) -> int:
    """OpenID Connect Front-Channel Logout 1.0. Nobody signs it, so it needs both, and ends a session here only."""
    provider = IdentityProvider.objects.filter(slug=slug).first()
    if provider is None or not provider.issuer or unverified_issuer != provider.issuer:
        return 0
    if not is_safe_text(unverified_sid):
        return 0
    return store.end_where("signed out at the provider", person__provider=provider, provider_sid=unverified_sid)


def provider_logout_url(session: Session, origin: str = "") -> str | None:
    """RP-Initiated Logout 1.0, for the row as it was before it ended. None: here only. Raises ProviderError."""
    provider = session.person.provider
    if provider.logout != IdentityProvider.Logout.PROVIDER or not provider.has_id_token:
        return None
    endpoint = ProviderClient(provider).metadata().end_session_endpoint
    if not endpoint:
        return None
    back = f"{origin or settings.AUTHGATE_PUBLIC_URL}{settings.AUTHGATE_AUTH_PREFIX}/signed-out"
    parameters = {
        **_hint(session),
        "client_id": provider.client_id,
        "post_logout_redirect_uri": back,
        "state": secrets.token_urlsafe(16),  # the session is over whatever comes back; some providers ask for one
    }
    return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(parameters)}"


def _verified(raw: str, provider: IdentityProvider) -> dict[str, Any]:
    client = ProviderClient(provider)
    try:
        # Anybody may send anything: for what is no logout token on the face of it no provider is asked.
        check_form(raw, _TYPES)
        metadata = client.metadata()
        claims, _ = verify_signed(raw, metadata, client.keys, _TYPES)
    except ProviderError as error:
        if error.code != "invalid_id_token":
            raise
        raise ProviderError("invalid_logout_token", error.detail.replace("ID token", "logout token")) from None
    _check_claims(claims, metadata.issuer, provider.client_id)
    return claims


def _provider(slug: str) -> IdentityProvider:
    provider = IdentityProvider.objects.filter(slug=slug, kind=IdentityProvider.Kind.OIDC, enabled=True).first()
    if provider is None:
        raise _refusal("there is no such OpenID provider, or it is disabled")
    return provider


def _logout_token(body: bytes) -> str:
    if len(body) > _MAX_BODY:
        raise _refusal("the request is too large")
    try:
        form = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise _refusal("the request is no form") from None
    # Anything else in the form is to be ignored (2.5); which of two tokens counts is not for us to choose.
    tokens = form.get("logout_token", [])
    if len(tokens) != 1:
        raise _refusal("the form has no logout_token, or several")
    return tokens[0]


def _check_claims(claims: Mapping[str, Any], issuer: str, client_id: str) -> None:
    audience = claims.get("aud")
    for_whom = audience if isinstance(audience, list) else [audience]
    events, jti = claims.get("events"), claims.get("jti")
    if not issuer or claims.get("iss") != issuer:
        raise _refusal("it is of another issuer")
    if client_id not in for_whom or not all(isinstance(item, str) for item in for_whom):
        raise _refusal("it is for another audience")
    if not isinstance(events, dict) or not isinstance(events.get(_EVENT), dict):
        raise _refusal("its events are not those of a logout")
    # An ID token has one: this is how none passes for a logout token.
    if "nonce" in claims:
        raise _refusal("it has a nonce")
    if not is_safe_text(jti):
        raise _refusal("its jti is missing or no text")


def _check_time(claims: Mapping[str, Any], now: float) -> float:
    """Until when it could be sent again."""
    issued_at = _time(claims, "iat")
    if issued_at > now + LEEWAY:
        raise _refusal("it is from the future: compare the clocks")
    # The final specification asks for exp, the drafts that older providers follow did not.
    expires_at = _time(claims, "exp") if "exp" in claims else issued_at + _MAX_AGE
    expires_at = min(expires_at, issued_at + _MAX_AGE) + LEEWAY
    if expires_at <= now:
        raise _refusal("it has expired")
    return expires_at


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LATEST:
        raise _refusal(f"its {name} is missing or no time")
    return float(value)


def _whose(claims: Mapping[str, Any]) -> dict[str, str]:
    """The sessions meant: by sid the one, by sub alone all of theirs; with both the one, if it is theirs."""
    whose: dict[str, str] = {}
    for name, field, is_good in (
        ("sid", "provider_sid", is_safe_text),
        ("sub", "person__provider_subject", is_subject),
    ):
        if name in claims:
            if not isinstance(claims[name], str) or not is_good(claims[name]):
                raise _refusal(f"its {name} is not usable text")
            whose[field] = claims[name]
    if not whose:
        raise _refusal("it names neither a session nor a subject")
    return whose


def _use_up(slug: str, jti: str, expires_at: float) -> None:
    key = f"logout {hashlib.sha256(f'{slug} {jti}'.encode()).hexdigest()}"
    try:
        with transaction.atomic():
            UsedOnce.objects.create(key=key, expires_at=datetime.fromtimestamp(expires_at, UTC))
    except IntegrityError:
        raise _refusal("it was used before") from None


def _hint(session: Session) -> dict[str, str]:
    try:
        id_token = unseal_text(session.sealed_id_token, purpose="id token", place=session.sid)
    except SealBroken:
        return {}
    return {"id_token_hint": id_token} if len(id_token) <= _MAX_HINT else {}


def _refusal(why: str) -> ProviderError:
    return ProviderError("invalid_logout_token", f"the logout token is refused: {why}")
