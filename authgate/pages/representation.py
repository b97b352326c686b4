"""Whether an answer may be a page, and whether it may be a redirect: two questions. Programs get JSON and a status."""

from __future__ import annotations

from collections.abc import Iterator

from django.http import HttpRequest

from authgate.wire.headers import RawHeaders

_OF_LINKS = frozenset(("GET", "HEAD"))
_OF_NAVIGATIONS = _OF_LINKS | {"POST"}  # links and forms: no other request replaces the page in a tab


def may_be_page(method: str, headers: RawHeaders) -> bool:
    """Whether a person will see the answer: the request says that it navigates, or accepts HTML as browsers do."""
    if method not in _OF_NAVIGATIONS:
        return False
    seen = dict(headers)
    mode = seen.get(b"sec-fetch-mode")
    if mode is not None:
        return mode.lower() == b"navigate"  # scripts cannot set it
    # Browsers omit Sec-Fetch-Mode on plain http, and programs do not know it.
    if b"x-requested-with" in seen or b"authorization" in seen:
        return False
    accept = seen.get(b"accept", b"").lower()
    return b"text/html" in accept and _is_browsers(accept)


def may_be_redirect(method: str, headers: RawHeaders) -> bool:
    """Whether the answer may lead elsewhere. Not for a form, which would be lost, nor for a request with a credential
    of its own, which expects a 401.
    """
    if method not in _OF_LINKS or any(name == b"authorization" for name, _ in headers):
        return False
    return may_be_page(method, headers)


def headers_of(request: HttpRequest) -> RawHeaders:
    """The headers of a request that Django has read."""
    return [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]


def _is_browsers(accept: bytes) -> bool:
    """Browsers prefer HTML to everything else. Programs do not: pip likes it least, and Java as much as a GIF."""
    wanted = dict(_read_accept(accept))
    if wanted.get(b"text/html") != 1.0:
        return False
    rivals = [kind for kind, quality in wanted.items() if quality == 1.0 and not kind.endswith(b"*")]
    return b"application/xhtml+xml" in wanted or rivals == [b"text/html"]


def _read_accept(accept: bytes) -> Iterator[tuple[bytes, float]]:
    """Media ranges and their quality values (RFC 9110 12.5.1)."""
    for item in accept.split(b","):
        kind, *parameters = (part.strip() for part in item.split(b";"))
        weights = [part[2:] for part in parameters if part.startswith(b"q=")]
        yield kind, _read_quality(weights[0]) if weights else 1.0


def _read_quality(text: bytes) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0
