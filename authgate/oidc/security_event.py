"""Security event tokens (RFC 8417), verified to the letter, as the Shared Signals Framework 1.0 restricts them.

What an event does here is not decided by this module, nor whom its subject names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from authgate.authn.claims import is_safe_text
from authgate.authn.compact import MAX_TOKEN_BYTES
from authgate.oidc.signed import LEEWAY, FindKeys, NotProven, check_form, read_time, verify_signed
from authgate.oidc.subject_identifier import SubjectId, SubjectUnreadable, read_subject

# Explicit typing (Shared Signals 1.0, RFC 8725 3.11): no other token of the provider's has this type, and a logout
# token, an ID token or an access token with it is taken nowhere.
_TYPES = frozenset(("secevent+jwt",))
# Events have no end. A transmitter that could not deliver tries again for days, and what came before is known so long.
MAX_AGE = 7 * 24 * 3600

_CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
_RISC = "https://schemas.openid.net/secevent/risc/event-type/"


class EventType(StrEnum):
    SESSION_REVOKED = f"{_CAEP}session-revoked"
    CREDENTIAL_CHANGE = f"{_CAEP}credential-change"
    TOKEN_CLAIMS_CHANGE = f"{_CAEP}token-claims-change"
    SESSIONS_REVOKED = f"{_RISC}sessions-revoked"
    ACCOUNT_DISABLED = f"{_RISC}account-disabled"
    ACCOUNT_PURGED = f"{_RISC}account-purged"
    ACCOUNT_ENABLED = f"{_RISC}account-enabled"
    VERIFICATION = "https://schemas.openid.net/secevent/ssf/event-type/verification"


_TYPES_BY_URI = {kind.value: kind for kind in EventType}


class EventRefused(Exception):
    """`err` is the word of RFC 8935 2.4 for the transmitter; `str()` the reason, which tells nothing of people."""

    def __init__(self, err: str, why: str) -> None:
        super().__init__(why)
        self.err = err


class SecurityEvent(NamedTuple):
    jti: str
    expires_at: float  # until when it could be sent again
    uri: str
    type: EventType | None  # None: not one that does anything here
    subject: SubjectId | None  # None: of an event that is about nobody
    state: str  # of a verification event


def check_event_form(raw: str) -> None:
    """All that can be said of it without its sender. Raises EventRefused."""
    try:
        check_form(raw, _TYPES, MAX_TOKEN_BYTES)
    except NotProven as error:
        raise _refused(error) from None


def verify_event(
    raw: str, algorithms: Collection[str], keys: FindKeys, issuer: str, audiences: Collection[str], now: float
) -> SecurityEvent:
    """Raises EventRefused."""
    try:
        claims, _ = verify_signed(raw, algorithms, keys, _TYPES, MAX_TOKEN_BYTES)
        if not issuer or claims.get("iss") != issuer:
            raise EventRefused("invalid_issuer", "it is of another issuer")
        if not _is_for(claims.get("aud"), audiences):
            raise EventRefused("invalid_audience", "it is for another audience")
        _check_kind(claims)
        return _read(claims, _check_time(claims, now))
    except NotProven as error:
        raise _refused(error) from None


def _refused(error: NotProven) -> EventRefused:
    words = {"form": "invalid_request", "key": "invalid_key", "signature": "authentication_failed"}
    return EventRefused(words[error.fault], str(error))


def _is_for(audience: object, ours: Collection[str]) -> bool:
    for_whom = audience if isinstance(audience, list) else [audience]
    return all(isinstance(item, str) for item in for_whom) and any(item in ours for item in for_whom)


def _check_kind(claims: Mapping[str, Any]) -> None:
    """Other tokens say when they end and whom they are about (Shared Signals 1.0, 4.1): events never say both."""
    if "sub" in claims and "exp" in claims:
        raise NotProven("it has sub and exp, as an ID token or an access token has")
    if "nonce" in claims:
        raise NotProven("it has a nonce, as an ID token has")
    if not is_safe_text(claims.get("jti")):
        raise NotProven("its jti is missing or no text")


def _check_time(claims: Mapping[str, Any], now: float) -> float:
    """Until when it could be sent again."""
    issued_at = read_time(claims, "iat")
    if issued_at > now + LEEWAY:
        raise NotProven("it is from the future: compare the clocks")
    expires_at = issued_at + MAX_AGE + LEEWAY
    if expires_at <= now:
        raise NotProven("it is too old")
    return expires_at


def _read(claims: Mapping[str, Any], expires_at: float) -> SecurityEvent:
    events = claims.get("events")
    if not isinstance(events, dict) or not all(isinstance(event, dict) for event in events.values()):
        raise NotProven("its events are no object of objects")
    # Each could be about somebody else, and a transmitter has no reason to send two in one token.
    if len(events) != 1:
        raise NotProven("it does not have exactly one event")
    ((uri, event),) = events.items()
    kind = _TYPES_BY_URI.get(uri)
    subject = None
    if kind not in (None, EventType.VERIFICATION):
        # Drafts of CAEP and RISC had the subject inside the event.
        subject = _read_subject(claims["sub_id"] if "sub_id" in claims else event.get("subject"))
    state = event.get("state")
    return SecurityEvent(claims["jti"], expires_at, uri, kind, subject, state if is_safe_text(state) else "")


def _read_subject(value: object) -> SubjectId:
    try:
        return read_subject(value)
    except SubjectUnreadable as error:
        raise NotProven(str(error)) from None
