"""Signing out by way of the provider: its own word that somebody is gone, and ours to it."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.db import IntegrityError, transaction

from authgate.authn.claims import is_safe_text
from authgate.models.people import IdentityProvider, Session, UsedOnce
from authgate.oidc.logout_token import LogoutToken, already_used, read_form, refusal, verify
from authgate.oidc.provider import ProviderClient
from authgate.sealing import SealBroken, seal_text, unseal_text
from authgate.sessions import store

_STATE = "sign-out"
_MAX_HINT = 4096  # of a URL that servers still take


def backchannel(slug: str, body: bytes) -> int:
    """OpenID Connect Back-Channel Logout 1.0: how many sessions have ended. Raises ProviderError: answer 400."""
    provider = _provider(slug)
    client = ProviderClient(provider)
    algorithms = client.metadata().algorithms
    token = verify(read_form(body), algorithms, client.keys, provider.issuer, provider.client_id, time.time())
    with transaction.atomic():
        _use_up(slug, token)
        return store.end_where("signed out at the provider", person__provider=provider, **token.whose)


def frontchannel(slug: str, unverified_issuer: str, unverified_sid: str) -> int:
    """OpenID Connect Front-Channel Logout 1.0. Nobody signs it, so it needs both, and ends a session here only."""
    provider = IdentityProvider.objects.filter(slug=slug).first()
    if provider is None or not names_a_session(provider, unverified_issuer, unverified_sid):
        return 0
    return store.end_where("signed out at the provider", person__provider=provider, provider_sid=unverified_sid)


def names_a_session(provider: IdentityProvider, unverified_issuer: str, unverified_sid: str) -> bool:
    return bool(provider.issuer) and unverified_issuer == provider.issuer and is_safe_text(unverified_sid)


def provider_logout_url(session: Session, origin: str = "") -> str | None:
    """RP-Initiated Logout 1.0, for the row as it was before it ended. None: here only. Raises ProviderError.

    `origin`: that of the host on which somebody signs out.
    """
    provider = session.person.provider
    if provider.logout != IdentityProvider.Logout.PROVIDER or not provider.has_id_token:
        return None
    endpoint = ProviderClient(provider).metadata().end_session_endpoint
    if not endpoint:
        return None
    public = settings.AUTHGATE_PUBLIC_URL
    origin = origin or public
    registered = origin if provider.callbacks == IdentityProvider.Callbacks.EACH else public
    back = f"{registered}{settings.AUTHGATE_AUTH_PREFIX}/signed-out"
    parameters = {
        **_hint(session),
        "client_id": provider.client_id,
        "post_logout_redirect_uri": back,
        # The session is over whatever comes back; but the page after that is on the host that was left.
        "state": seal_text(origin, purpose=_STATE),
    }
    return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(parameters)}"


def left_origin(unverified_state: str) -> str:
    """Where somebody signed out who comes back from a provider. Empty: nobody has who brings this."""
    try:
        return unseal_text(unverified_state[:_MAX_HINT], purpose=_STATE)
    except SealBroken:
        return ""


def _provider(slug: str) -> IdentityProvider:
    provider = IdentityProvider.objects.filter(slug=slug, kind=IdentityProvider.Kind.OIDC, enabled=True).first()
    if provider is None:
        raise refusal("there is no such OpenID provider, or it is disabled")
    return provider


def used_key(slug: str, jti: str) -> str:
    return f"logout {hashlib.sha256(f'{slug} {jti}'.encode()).hexdigest()}"


def _use_up(slug: str, token: LogoutToken) -> None:
    key = used_key(slug, token.jti)
    try:
        with transaction.atomic():
            UsedOnce.objects.create(key=key, expires_at=datetime.fromtimestamp(token.expires_at, UTC))
    except IntegrityError:
        raise already_used() from None


def _hint(session: Session) -> dict[str, str]:
    try:
        id_token = unseal_text(session.sealed_id_token, purpose="id token", place=session.sid)
    except SealBroken:
        return {}
    return {"id_token_hint": id_token} if len(id_token) <= _MAX_HINT else {}
