"""Logout tokens, verified to the letter (OpenID Connect Back-Channel Logout 1.0, 2.4 and 2.6)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from authgate.authn.claims import is_safe_text
from authgate.authn.compact import MAX_TOKEN_BYTES
from authgate.oidc.id_token import is_subject
from authgate.oidc.signed import LEEWAY, FindKeys, NotProven, check_form, read_time, verify_signed
from authgate.outbound.errors import ProviderError

REFUSED = "invalid_logout_token"
_EVENT = "http://schemas.openid.net/event/backchannel-logout"
# Old providers name none of their own, or the one of every JWT; `events` is what no other token has (section 2.4).
_TYPES = frozenset(("logout+jwt", "jwt"))
_MAX_BODY = 64 * 1024
_MAX_AGE = 600


class LogoutToken(NamedTuple):
    jti: str
    expires_at: float  # until when it could be sent again
    whose: dict[str, str]  # conditions on sessions


def read_form(body: bytes) -> str:
    """The token, which has the form of one. Raises ProviderError, as does all that follows."""
    if len(body) > _MAX_BODY:
        raise refusal("the request is too large")
    try:
        form = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise refusal("the request is no form") from None
    # Anything else in the form is to be ignored (2.5); which of two tokens counts is not for us to choose.
    tokens = form.get("logout_token", [])
    if len(tokens) != 1:
        raise refusal("the form has no logout_token, or several")
    try:
        check_form(tokens[0], _TYPES, MAX_TOKEN_BYTES)
    except NotProven as error:
        raise refusal(str(error)) from None
    return tokens[0]


def verify(
    raw: str, algorithms: Collection[str], keys: FindKeys, issuer: str, client_id: str, now: float
) -> LogoutToken:
    try:
        claims, _ = verify_signed(raw, algorithms, keys, _TYPES, MAX_TOKEN_BYTES)
        _check_claims(claims, issuer, client_id)
        return LogoutToken(claims["jti"], _check_time(claims, now), _whose(claims))
    except NotProven as error:
        raise refusal(str(error)) from None


def refusal(why: str) -> ProviderError:
    return ProviderError(REFUSED, f"the logout token is refused: {why}")


def already_used() -> ProviderError:
    return refusal("it was used before")


def _check_claims(claims: Mapping[str, Any], issuer: str, client_id: str) -> None:
    audience = claims.get("aud")
    for_whom = audience if isinstance(audience, list) else [audience]
    events, jti = claims.get("events"), claims.get("jti")
    if not issuer or claims.get("iss") != issuer:
        raise NotProven("it is of another issuer")
    if client_id not in for_whom or not all(isinstance(item, str) for item in for_whom):
        raise NotProven("it is for another audience")
    if not isinstance(events, dict) or not isinstance(events.get(_EVENT), dict):
        raise NotProven("its events are not those of a logout")
    # An ID token has one: this is how none passes for a logout token.
    if "nonce" in claims:
        raise NotProven("it has a nonce")
    if not is_safe_text(jti):
        raise NotProven("its jti is missing or no text")


def _check_time(claims: Mapping[str, Any], now: float) -> float:
    """Until when it could be sent again."""
    issued_at = read_time(claims, "iat")
    if issued_at > now + LEEWAY:
        raise NotProven("it is from the future: compare the clocks")
    # The final specification asks for exp, the drafts that older providers follow did not.
    expires_at = read_time(claims, "exp") if "exp" in claims else issued_at + _MAX_AGE
    expires_at = min(expires_at, issued_at + _MAX_AGE) + LEEWAY
    if expires_at <= now:
        raise NotProven("it has expired")
    return expires_at


def _whose(claims: Mapping[str, Any]) -> dict[str, str]:
    """The sessions meant: by sid the one, by sub alone all of theirs; with both the one, if it is theirs."""
    whose: dict[str, str] = {}
    for name, field, is_good in (
        ("sid", "provider_sid", is_safe_text),
        ("sub", "person__provider_subject", is_subject),
    ):
        if name in claims:
            if not isinstance(claims[name], str) or not is_good(claims[name]):
                raise NotProven(f"its {name} is not usable text")
            whose[field] = claims[name]
    if not whose:
        raise NotProven("it names neither a session nor a subject")
    return whose
