"""Where a response points, from the service's view to the visitor's: redirects and the paths of cookies. Pure.

A service behind `strip_prefix` does not know of the prefix, and no service need know the gateway's address. Sent on as
it is, `Location: /admin/login/` would lead to the gateway's own sign-in page, for a password meant for the service.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from authgate.policy.table import RouteEntry, service_path, stripped_prefix
from authgate.request import RequestFacts
from authgate.wire.authority import Authority, HostRefused, parse_authority
from authgate.wire.headers import RawHeaders

# As browsers read a URL (WHATWG URL): a backslash is a slash, tabs and line ends vanish, %2e is a dot.
_IGNORED = dict.fromkeys(map(ord, "\t\r\n"))
_TRIMMED = "".join(map(chr, range(0x21)))
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_TAIL = re.compile(r"[?#].*", re.DOTALL)
_DOT = re.compile(r"(?:\.|%2e)(\.|%2e)?", re.IGNORECASE)
_REFRESH = re.compile(r"([\s0-9.]*[;,]?\s*(?:url\s*=\s*)?)(?:([\"'])([^\"']*).*|(.*))", re.IGNORECASE | re.DOTALL)
_SCHEMES = ("http", "https")


class _View(NamedTuple):
    """What one request looks like from both sides."""

    prefix: str  # of the visitor's paths; the service sees them without it
    added: str  # that the service's paths have before them; the visitor sees them without it
    path: str  # as the service sees it
    scheme: str  # as the visitor sees it
    authority: Authority
    services: tuple[tuple[str, Authority], ...]  # the addresses under which a service may know itself


def rewrite_places(headers: RawHeaders, entry: RouteEntry, facts: RequestFacts) -> RawHeaders:
    """The headers of a response as they are right for this visitor."""
    prefix = stripped_prefix(entry.route)
    route = entry.route
    services = _addresses(entry.upstream.targets, route.upstream_host)
    if route.preserve_host:
        services = (*services, (facts.scheme, facts.authority))
    view = _View(
        prefix, route.add_prefix, service_path(route, facts.path), facts.scheme, facts.authority, services
    )  # fmt: skip
    return [(name, _rewritten(name, value, view)) for name, value in headers]


def _rewritten(name: bytes, value: bytes, view: _View) -> bytes:
    if name in (b"location", b"content-location"):
        return _visitors_url(value.decode("latin-1"), view).encode("latin-1")
    if name == b"refresh":
        return _visitors_refresh(value.decode("latin-1"), view).encode("latin-1")
    return _visitors_cookie(value, view) if name == b"set-cookie" else value


@lru_cache(maxsize=1024)
def _addresses(targets: tuple[str, ...], host: str) -> tuple[tuple[str, Authority], ...]:
    """Of these targets, and of the Host header that is sent to them, if it is another one."""
    parts = [urlsplit("http://localhost" if target.startswith("unix:") else target) for target in targets]
    found = [(part.scheme, parse_authority(part.netloc.encode())) for part in parts]
    if host:
        found += [(scheme, parse_authority(host.encode())) for scheme in _SCHEMES]
    return tuple(found)


def _visitors_url(url: str, view: _View) -> str:
    text = url.translate(_IGNORED).strip(_TRIMMED)
    tail = _TAIL.search(text)
    head, rest = (text[: tail.start()], tail[0]) if tail else (text, "")
    head = head.replace("\\", "/")
    scheme = _SCHEME.match(head)
    if scheme is not None:
        if scheme[1].lower() not in _SCHEMES:
            return url
        head = head[scheme.end() :]
        if head.startswith("//") or scheme[1].lower() != view.scheme:
            return _absolute(scheme[1].lower(), head.lstrip("/"), view, rest) or url
    elif head.startswith("//"):
        return _absolute(view.scheme, head.lstrip("/"), view, rest) or url
    if not head or not (view.prefix or view.added):
        return url
    path = _with_prefix(_resolved(head), view) if head[0] == "/" else _from_here(head, view)
    # Behind what was taken off, a second slash would make a host of the next segment.
    return f"{view.scheme}://{view.authority}{path}{rest}" if path.startswith("//") else path + rest


def _absolute(scheme: str, head: str, view: _View, rest: str) -> str | None:
    """None for an address that is neither the service's nor the visitor's."""
    netloc, slash, path = head.partition("/")
    try:
        authority = parse_authority(netloc.rpartition("@")[2].encode("latin-1"))
    except HostRefused:
        return None
    path = _with_prefix(_resolved(slash + path), view)
    if any(_is_same(scheme, authority, *service) for service in view.services):
        return f"{view.scheme}://{view.authority}{path}{rest}"
    if (view.prefix or view.added) and _is_same(scheme, authority, view.scheme, view.authority):
        return f"{scheme}://{authority}{path}{rest}"
    return None


def _is_same(scheme: str, authority: Authority, own_scheme: str, own: Authority) -> bool:
    # A service may know its own host and yet not whether the visitor came by http or https.
    return authority == own or (authority.host, authority.effective_port(scheme)) == (
        own.host, own.effective_port(own_scheme),
    )  # fmt: skip


def _with_prefix(path: str, view: _View) -> str:
    """Some services know of the prefix, from X-Forwarded-Prefix or their own settings, and have set it already."""
    inner = _without_added(path, view)
    if inner is not None:
        return view.prefix + inner
    return path if f"{path}/".startswith(f"{view.prefix}/") else view.prefix + path


def _without_added(path: str, view: _View) -> str | None:
    """None for a path of the service that no visitor can reach."""
    return path[len(view.added) :] or "/" if view.added and f"{path}/".startswith(f"{view.added}/") else None


def _from_here(relative: str, view: _View) -> str:
    # A browser at "/app" would look for "login" beside it, and "../../" would climb above the prefix.
    path = _resolved(view.path[: view.path.rfind("/") + 1] + relative)
    return view.prefix + (_without_added(path, view) or path)


def _resolved(path: str) -> str:
    """An absolute path without dot segments; of an empty one "/"."""
    kept: list[str] = []
    dots = None
    for segment in path.split("/")[1:]:
        dots = _DOT.fullmatch(segment)
        if dots is None:
            kept.append(segment)
        elif dots[1]:
            del kept[-1:]
    return "/" + "/".join([*kept, ""] if dots else kept)


def _visitors_refresh(value: str, view: _View) -> str:
    match = _REFRESH.fullmatch(value)
    if match is None:
        return value
    start, quote, quoted, plain = match.groups("")
    url = quoted if quote else plain
    return f"{start}{quote}{_visitors_url(url, view)}{quote}"


def _visitors_cookie(cookie: bytes, view: _View) -> bytes:
    pair, *attributes = cookie.split(b";")
    # Browsers take a __Host- cookie for "/" alone.
    is_moved = (view.prefix or view.added) and not pair.strip().lower().startswith(b"__host-")
    kept, has_path = [pair], False
    for attribute in attributes:
        name, _, value = (part.strip() for part in attribute.partition(b"="))
        if name.lower() == b"domain" and _is_of_service(value, view):
            continue  # a browser that visits the gateway would refuse it
        if is_moved and name.lower() == b"path":
            has_path = value.startswith(b"/")
            if has_path and (moved := _cookie_path(value.decode("latin-1"), view).encode("latin-1")) != value:
                attribute = b" Path=" + moved
        kept.append(attribute)
    if is_moved and view.prefix and not has_path and view.path == f"{view.added}/":
        kept.append(b" Path=" + view.prefix.encode("ascii"))  # else "/app" would stand for the directory above it
    return b";".join(kept)


def _cookie_path(path: str, view: _View) -> str:
    inner = _without_added(path, view)
    if inner is None and view.prefix and f"{path}/".startswith(f"{view.prefix}/"):
        return path
    return view.prefix + ("" if (inner or path) == "/" else inner or path) or "/"


def _is_of_service(domain: bytes, view: _View) -> bool:
    host = domain.removeprefix(b".").lower().decode("latin-1")
    if _is_within(view.authority.host, host):
        return False
    return any(_is_within(own.host, host) for _, own in view.services)


def _is_within(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")
