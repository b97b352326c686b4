"""The security headers of every response: pages of our own, refusals, and what upstream responses lack."""

from __future__ import annotations

from django.conf import settings

from authgate.own_pages import own_pages
from authgate.wire.headers import RawHeaders

# Only on https. Subdomains are left out: they may belong to others, who still serve plain http.
_HSTS = [(b"strict-transport-security", b"max-age=31536000")] if settings.SECURE else []

SECURITY_HEADERS: list[tuple[bytes, bytes]] = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
    *_HSTS,
]

# Everything is shut and then opened for our own files. Django admin works without inline scripts and styles.
OWN_PAGES_CSP: bytes = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    b"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


_secret = tuple(page.path for page in own_pages(settings.AUTHGATE_AUTH_PREFIX) if page.has_secret_address)


def has_secret_address(path: str) -> bool:
    """Whatever answers there, the page itself or what refuses in its place, must not tell the address to a link."""
    return path.startswith(_secret)  # also a mistyped one: it has the same query


def without_referrer(headers: RawHeaders) -> RawHeaders:
    kept = [header for header in headers if header[0].lower() != b"referrer-policy"]
    return [*kept, (b"referrer-policy", b"no-referrer")]


def framed_by(origins: list[str]) -> str:
    """The policy of an empty page that these origins may show in a frame."""
    ancestors = " ".join(origins) or "'none'"
    return f"default-src 'none'; base-uri 'none'; frame-ancestors {ancestors}"
