"""Which credential a request carries, read from its raw headers. Proves nothing about it."""

from __future__ import annotations

import re
from typing import NamedTuple

from authgate.authn.tokens import Kind
from authgate.decision import InvalidCredential, RawHeaders, Reason

_SCHEME = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?: |\Z)")
_B64TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")


class UnverifiedCredential(NamedTuple):
    kind: Kind
    token: bytes


def find_credential(headers: RawHeaders, session_cookie: bytes) -> UnverifiedCredential | None:
    """The bearer token, else the session cookie. Raises InvalidCredential when it is unclear which is meant."""
    authorization: bytes | None = None
    cookies: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            if authorization is not None:
                raise InvalidCredential(Reason.MALFORMED_CREDENTIAL)
            authorization = value
        elif name == b"cookie":
            # HTTP/2 may split the header (RFC 9113 8.2.3), and a client may repeat it: all of it counts.
            cookies = value if cookies is None else cookies + b"; " + value
    if authorization is not None:
        token = _read_bearer(authorization)
        if token is not None:
            return UnverifiedCredential(Kind.ACCESS, token)
    if cookies is not None and session_cookie in cookies:
        token = _read_session(cookies, session_cookie)
        if token is not None:
            return UnverifiedCredential(Kind.SESSION, token)
    return None


def _read_bearer(value: bytes) -> bytes | None:
    """None when the scheme is another one, which is no credential of ours (RFC 9110 11.1: any case)."""
    if value[:7] == b"Bearer " and _B64TOKEN.fullmatch(value, 7):
        return value[7:]
    scheme = _SCHEME.match(value)
    if scheme is not None and scheme[1].lower() != b"bearer":
        return None
    token = value[7:].lstrip(b" ")
    if scheme is None or _B64TOKEN.fullmatch(token) is None:
        raise InvalidCredential(Reason.MALFORMED_CREDENTIAL)
    return token


def _read_session(cookies: bytes, session_cookie: bytes) -> bytes | None:
    """Cookies that some reader would take for the session make it unclear who planted which, so two are none."""
    found: bytes | None = None
    for pair in cookies.split(b";"):
        name, _, value = pair.partition(b"=")
        if not _may_be_read_as(session_cookie, name):
            continue
        # A browser sends the exact name once. A look-alike is how a sibling host gets around __Host-, and a
        # second one how it tosses its own cookie in front.
        if name.strip(b" \t") != session_cookie or found is not None:
            raise InvalidCredential(Reason.INVALID_TOKEN)
        found = value.strip(b" \t")
    return found


def _may_be_read_as(session_cookie: bytes, name: bytes) -> bool:
    """Frameworks trim names as text, so U+2000 and U+00A0 vanish, whichever encoding they assume."""
    if session_cookie not in name:
        return False
    wanted = session_cookie.decode("ascii")
    return name.decode("latin-1").strip() == wanted or name.decode("utf-8", "ignore").strip() == wanted
