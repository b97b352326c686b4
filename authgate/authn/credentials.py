"""Which credential a request carries, read from its raw headers. Only `verify_session` proves anything about it."""

from __future__ import annotations

import re
from typing import NamedTuple

from authgate.authn.cache import cache_key
from authgate.authn.claims import VerifiedClaims
from authgate.authn.ownership import holds_ours, may_be_ours
from authgate.authn.service_tokens import may_be_service_token, read_basic, read_password
from authgate.authn.tokens import MAX_TTL, Kind, verify
from authgate.authn.trust import TrustSnapshot
from authgate.reason import Reason
from authgate.request import InvalidCredential
from authgate.wire.cookies import cookie_line, cookie_pairs
from authgate.wire.headers import Headers

_SCHEME = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?: |\Z)")
# Named here because Python 3.11 looks an enum's member up through a descriptor, and this runs on most requests.
_ACCESS, _SESSION = Kind.ACCESS, Kind.SESSION
_B64TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")


class Credential(NamedTuple):
    kind: Kind
    unverified_token: bytes
    key: tuple[Kind, bytes]  # of the cache
    by_basic: bool = False
    is_dpop: bool = False  # the scheme: a proof comes with it (RFC 9449 7.1)

    @property
    def by_cookie(self) -> bool:
        return self.kind is _SESSION


def find_credential(headers: Headers, session_cookie: bytes) -> Credential | None:
    """The token of the Authorization header, or a service token as Basic's password; else the session cookie. Raises
    InvalidCredential when it is unclear which is meant.

    The form of a token is left to `check_form`, for tokens not seen before.
    """
    authorization = headers.values(b"authorization")
    if len(authorization) > 1:
        raise InvalidCredential(Reason.MALFORMED_CREDENTIAL, "there is more than one Authorization header")
    if authorization:
        found = _read_authorization(authorization[0])
        if found is not None:
            return found
    return _find_session(cookie_line(headers), session_cookie)


def find_mistyped(headers: Headers) -> Credential | None:
    """Basic's password that begins like a service token, where none was found: whole ones count everywhere."""
    for authorization in headers.values(b"authorization"):
        password = read_password(authorization)
        if password is not None and may_be_service_token(password):
            return _basic(password)
    return None


def uses_dpop(headers: Headers) -> bool:
    """Whether a token came as one that is bound to a key, whatever it is."""
    return any(value[:5].lower() == b"dpop " for value in headers.values(b"authorization"))


def sends_token(headers: Headers) -> bool:
    """Whether a token came as one, bound to a key or not, whatever it is; not as a password or a cookie."""
    return any(value[:7].lower() == b"bearer " for value in headers.values(b"authorization")) or uses_dpop(headers)


def beside_the_services(found: Credential | None, headers: Headers, trust: TrustSnapshot) -> Credential | None:
    """What counts of the headers in which `found` was found, where the Authorization header is for the service.

    A bearer token that is not ours is the service's own, and a session cookie beside it says who calls. Nothing is
    chosen by whether a credential is good: a bad token of ours is refused, and so is a bad cookie.
    """
    if found is not None and found.by_cookie:
        if any(holds_ours(value, trust) for value in headers.values(b"authorization")):
            raise InvalidCredential(Reason.INVALID_TOKEN, "a token of the gateway beside the session needs Bearer")
        return found
    if found is None or may_be_ours(found.unverified_token, trust):
        return found
    check_form(_ACCESS, found.unverified_token)
    return _find_session(cookie_line(headers), trust.session_cookie) or found


def check_form(kind: Kind, unverified_token: bytes) -> None:
    """RFC 6750 2.1. A bad cookie is no malformed request: `verify` refuses it."""
    if kind is _ACCESS and _B64TOKEN.fullmatch(unverified_token) is None:
        raise InvalidCredential(Reason.MALFORMED_CREDENTIAL, "the token is empty or has characters that no token has")


def check_cookie_host(cookie_host: str, host: str) -> None:
    """Raises InvalidCredential. A browser never sends the cookie of one host to another. Whoever does has taken it: the
    code that brings a session to an application's host can be read by that application's scripts.
    """
    if cookie_host and cookie_host != host:
        raise InvalidCredential(Reason.WRONG_AUDIENCE, f"it is the session's cookie of the host {cookie_host}")


def verify_session(found: Credential | None, trust: TrustSnapshot, now: float, host: str) -> VerifiedClaims | None:
    """The claims of a session's cookie, also of an expired one: its session may still live, and may give out another.

    None: no cookie, or an access token that a browser carries as its cookie. Raises InvalidCredential.
    """
    if found is None or not found.by_cookie:
        return None
    claims = verify(found.unverified_token, trust, _SESSION, now, expired_for=MAX_TTL)
    check_cookie_host(claims.cookie_host, host)
    return claims if claims.session_id else None


def _read_authorization(value: bytes) -> Credential | None:
    """None when the scheme is another one, which is no credential of ours (any case, RFC 9110 11.1)."""
    if value.startswith(b"Bearer "):
        token = value[7:].lstrip(b" ")
        return Credential(_ACCESS, token, cache_key(_ACCESS, token))
    match = _SCHEME.match(value)
    if match is None:
        raise InvalidCredential(Reason.MALFORMED_CREDENTIAL, "the Authorization header has no scheme")
    scheme, token = match[1].lower(), value[match.end() :].lstrip(b" ")
    if scheme == b"bearer":
        return Credential(_ACCESS, token, cache_key(_ACCESS, token))
    if scheme == b"dpop":
        # No token has a space, so neither of the two ever stands for the other in the cache.
        return Credential(_ACCESS, token, cache_key(_ACCESS, b"DPoP " + token), is_dpop=True)
    if (password := read_basic(value)) is not None:
        return _basic(password)
    return None


def _basic(password: bytes) -> Credential:
    # Another key than a bearer token's, which holds no space: what is remembered differs.
    return Credential(_ACCESS, password, cache_key(_ACCESS, b"basic " + password), by_basic=True)


def _find_session(cookies: bytes, session_cookie: bytes) -> Credential | None:
    start = cookies.find(session_cookie)
    if start < 0:
        return None
    token: bytes | None = None
    after = start + len(session_cookie)
    if (not start or cookies[start - 2 : start] == b"; ") and cookies[after : after + 1] == b"=":
        value, _, rest = cookies[after + 1 :].partition(b";")
        # As a browser writes it, and once. All else is looked at pair by pair.
        if session_cookie not in rest:
            token = value.strip(b" \t")
    if token is None:
        token = _search_session(cookies, session_cookie)
    return None if token is None else Credential(_SESSION, token, cache_key(_SESSION, token))


def _search_session(cookies: bytes, session_cookie: bytes) -> bytes | None:
    """Two cookies that some reader would take for the session are none: nobody knows who planted which."""
    found: bytes | None = None
    for pair in cookie_pairs(cookies):
        name, _, value = pair.partition(b"=")
        if not _may_be_read_as(session_cookie, name):
            continue
        # A browser sends the exact name once. A look-alike is how a sibling host gets around __Host-, and a
        # second one how it tosses its own cookie in front.
        if name.strip(b" \t") != session_cookie or found is not None:
            raise InvalidCredential(Reason.INVALID_TOKEN, "there is more than one cookie that passes for the session")
        found = value.strip(b" \t")
    return found


def _may_be_read_as(session_cookie: bytes, name: bytes) -> bool:
    """Frameworks trim names as text, so U+2000 and U+00A0 vanish, whichever encoding they assume."""
    if session_cookie not in name:
        return False
    wanted = session_cookie.decode("ascii")
    return name.decode("latin-1").strip() == wanted or name.decode("utf-8", "ignore").strip() == wanted
