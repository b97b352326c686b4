"""Authorization code with PKCE, state and nonce: away to the provider, and back with somebody proven."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from django.db import close_old_connections
from django.http import QueryDict

from authgate.models.people import IdentityProvider
from authgate.oidc import departure as departures
from authgate.oidc import login_state
from authgate.oidc.claims import ProvenPerson, find_odd_claims, person_claims
from authgate.oidc.departure import Departure
from authgate.oidc.id_token import verify_id_token
from authgate.oidc.login_state import Beginning, PendingLogin, beginning
from authgate.oidc.metadata import Metadata
from authgate.oidc.next_url import safe_next
from authgate.oidc.provider import ProviderClient, TokenSet
from authgate.outbound.errors import ProviderError
from authgate.redirect_uri import redirect_uri

logger = logging.getLogger(__name__)

_LONGEST_CODE = 8192
_ERROR_WORD = re.compile(r"[a-z_]{1,64}")


@dataclass(frozen=True, slots=True)
class Begun:
    location: str
    set_cookies: list[str]  # values of Set-Cookie


@dataclass(frozen=True, slots=True)
class Completed:
    proven: ProvenPerson
    tokens: TokenSet
    provider: IdentityProvider
    next: str
    departure: Departure | None  # from another host, to which it goes on
    beginning: Beginning


@dataclass(frozen=True, slots=True)
class _Answer:
    code: str = field(repr=False)
    issuer: str | None


def begin(
    provider: IdentityProvider,
    origin: str,
    next_path: str,
    cookies: Mapping[str, str],
    departure: Departure | None = None,
) -> Begun:
    """`origin` has no path. Raises ProviderError."""
    now = time.time()
    pending = login_state.new_pending(
        provider.slug, safe_next(next_path), redirect_uri(provider.slug, origin), cookies, now
    )
    if departure is not None:
        pending = replace(pending, departure=asdict(departure))
    location = ProviderClient(provider).authorization_url(
        state=pending.seal(), nonce=pending.nonce, verifier=pending.verifier, redirect_uri=pending.redirect_uri
    )
    return Begun(location, login_state.bind(pending, cookies, now))


def complete(slug: str, origin: str, query: QueryDict, cookies: Mapping[str, str]) -> Completed:
    """Raises ProviderError, which carries where this sign-in would have led."""
    state, now = query.get("state", ""), time.time()
    pending = login_state.find(state, cookies, now) if state else None
    try:
        # Before anything slow, and whatever the answer is: it counts once.
        is_first = pending is not None and login_state.use_up(pending, now)
        answer = _read_answer(query)
        if pending is None or not is_first:
            raise ProviderError("login_expired", "no sign-in of this browser is waiting for this answer")
        provider = _bound_provider(pending, slug, origin)
        close_old_connections()  # others need them while the provider takes its time
        return _prove(pending, provider, answer, cookies)
    except ProviderError as error:
        error.next = safe_next(pending.next) if pending else ""
        raise


def _read_answer(query: QueryDict) -> _Answer:
    for name in query:
        # Which of two counts differs between readers.
        if len(query.getlist(name)) > 1:
            raise ProviderError("oauth2_error", "the provider's answer has a parameter twice")
    if "error" in query:
        error = query.get("error", "")
        word = error if _ERROR_WORD.fullmatch(error) else "an unknown error"
        raise ProviderError("oauth2_error", f"the provider answered with {word}", oauth_error=word)
    code = query.get("code", "")
    if not code or len(code) > _LONGEST_CODE:
        raise ProviderError("missing_code", "the provider's answer has no usable code")
    return _Answer(code, query.get("iss"))


def _bound_provider(pending: PendingLogin, slug: str, origin: str) -> IdentityProvider:
    """The provider this sign-in was begun with, answering where it was told to (RFC 9700 4.4: mix-up)."""
    if pending.slug != slug or pending.redirect_uri != redirect_uri(slug, origin):
        raise ProviderError("oauth2_error", "the answer came to another provider's or host's callback")
    provider = IdentityProvider.objects.filter(slug=slug, enabled=True).first()
    if provider is None:
        raise ProviderError("login_expired", "the provider was removed or disabled since")
    return provider


def _prove(pending: PendingLogin, provider: IdentityProvider, answer: _Answer, cookies: Mapping[str, str]) -> Completed:
    client = ProviderClient(provider)
    _check_issuer(answer.issuer, client.metadata())
    tokens = client.exchange(answer.code, pending.verifier, pending.redirect_uri)
    id_claims = _id_claims(client, tokens, pending.nonce)
    userinfo = client.userinfo(tokens.access_token, subject=id_claims.get("sub"))
    proven = person_claims(provider, id_claims, userinfo)
    for oddity in find_odd_claims(provider, id_claims, userinfo):
        logger.warning("sign-in of %s|%s: %s", provider.slug, proven.subject, oddity)
    departure = departures.read(pending.departure)
    return Completed(proven, tokens, provider, safe_next(pending.next), departure, beginning(pending, cookies))


def _check_issuer(issuer: str | None, metadata: Metadata) -> None:
    """RFC 9207 2.4: compared as text, and missing only where it was never promised."""
    if issuer is None and metadata.sends_issuer:
        raise ProviderError("oauth2_error", "the provider's answer lacks the iss that its metadata promises")
    if issuer is not None and issuer != metadata.issuer:
        raise ProviderError("oauth2_error", "the answer is of another issuer")


def _id_claims(client: ProviderClient, tokens: TokenSet, nonce: str) -> dict[str, Any]:
    provider = client.provider
    if not provider.has_id_token:
        return {}
    if not tokens.id_token:
        raise ProviderError("invalid_id_token", "the token endpoint gave no ID token: is the scope openid asked for?")
    return verify_id_token(
        tokens.id_token,
        provider,
        client.metadata(),
        client.keys,
        nonce=nonce,
        access_token=tokens.access_token,
        now=time.time(),
    )
