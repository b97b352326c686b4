"""Requests whose cookies alone are too large: an application on the same host set too many, and every page of that
host, sign-out included, would be shut to this browser. The answer says so and expires the cookies.

No stranger gains by it: a browser that is sent here from elsewhere loses only cookies with which nothing works.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from django.conf import settings
from django.template.loader import render_to_string

from authgate.pages.representation import may_be_page
from authgate.reason import Reason
from authgate.security_headers import OWN_PAGES_CSP
from authgate.wire.authority import HostRefused, parse_authority
from authgate.wire.headers import RawHeaders
from authgate.wire.refusal import Answer
from proxy.server.http1.refusal import build_refusal

MAX_BYTES = 1024 * 1024  # of one Cookie header; browsers keep 180 cookies of 4 KiB for a site
MAX_PAIRS = 1000
MAX_NAMES_BYTES = 64 * 1024  # of all names together: what is kept of a request
MAX_LINES_BYTES = 32 * 1024  # of the answer; what does not fit is expired when the browser comes again
_COOKIE_BYTES = 4096  # browsers keep no larger one
_MAX_DIRECTORIES = 6
_SHOWN = 20

# Anything but control characters: a name is written back into a header.
_NAME = re.compile(rb"[ -~\x80-\xff]*")
_PLAIN_TARGET = re.compile(rb"/(?![/\\])[!-~]*")
_PLAIN_PATH = re.compile(rb"/[!-:<-~]*")
_SESSION = settings.AUTHGATE_SESSION_COOKIE.encode("ascii")
# The sign-out page, which knows nothing of the query; with too many cookies it deletes all there are.
_DELETE_ALL = f"{settings.AUTHGATE_AUTH_PREFIX}/logout?cookies=all"


class CookieNames:
    """Reads the value of a Cookie header piece by piece, and keeps names alone."""

    def __init__(self) -> None:
        self.sizes: dict[bytes, int] = {}  # of name and value, by name; without the session's
        self._pairs_left = MAX_PAIRS
        self._bytes_left = MAX_NAMES_BYTES
        self._piece = b""
        self._spared = False

    def feed(self, data: bytes) -> None:
        *pairs, piece = (self._piece + data).split(b";", self._pairs_left)
        self._pairs_left -= len(pairs)
        for pair in pairs:
            self._note(pair)
        self._piece = piece[: _COOKIE_BYTES + 1] if self._pairs_left else b""

    def end(self) -> dict[bytes, int]:
        self._note(self._piece)
        self._piece = b""
        return self.sizes

    def _note(self, pair: bytes) -> None:
        pair = pair.strip()
        name, equals, _ = pair.partition(b"=")
        name = name.rstrip() if equals else b""
        if name == _SESSION and not self._spared and len(pair) <= _COOKIE_BYTES:
            self._spared = True  # of several with this name, one at most is ours
        elif pair and _NAME.fullmatch(name):
            if name not in self.sizes:
                self._bytes_left -= len(name)
            if self._bytes_left >= 0:
                self.sizes[name] = self.sizes.get(name, 0) + len(pair)


class OversizedHead:
    """A head of HTTP/1.1 with too large a Cookie header, read on to its end: whoever closes while a browser is still
    sending takes the answer away from it."""

    def __init__(self, before: bytes, rest: bytes) -> None:
        """`rest` begins with the Cookie header."""
        request_line, *lines = before.removesuffix(b"\r\n").split(b"\r\n")
        self.method, _, target = request_line.partition(b" ")
        self._target = target.rpartition(b" ")[0]
        pairs = (line.partition(b":") for line in lines)
        self._headers = [(name.lower(), value.strip(b" \t")) for name, _, value in pairs]
        self._names = CookieNames()
        self._left = MAX_BYTES
        self._kept = b""  # what may be the first part of a line's or the head's end
        self._in_cookies = True
        self._first = rest.partition(b":")[2]

    def feed(self, data: bytes) -> bool:
        """Whether that was all, or as much as is read."""
        self._left -= len(data)
        data, self._first = self._first + data, b""
        data, self._kept = self._kept + data, b""
        if self._in_cookies:
            data = self._read_cookies(data)
        if not self._in_cookies:
            self._kept = data[-3:]
        return self._left <= 0 or (not self._in_cookies and b"\r\n\r\n" in data)

    def _read_cookies(self, data: bytes) -> bytes:
        """What is behind the cookies, with the end of their line."""
        cookies, line_end, rest = data.partition(b"\r\n")
        self._in_cookies = not line_end
        if self._in_cookies and cookies.endswith(b"\r"):
            cookies, self._kept = cookies[:-1], b"\r"
        self._names.feed(cookies)
        return line_end + rest

    def refusal(self) -> Answer:
        return refuse_cookies(self.method.decode("latin-1"), self._target, self._headers, self._names.end())


def cookie_names(headers: RawHeaders) -> dict[bytes, int]:
    names = CookieNames()
    for name, value in headers:
        if name == b"cookie":
            names.feed(value + b";")
    return names.end()


def refuse_cookies(method: str, target: bytes, headers: RawHeaders, sizes: dict[bytes, int]) -> Answer:
    """Nothing of the request is believed: what is echoed is a path, and names of cookies that this client sent."""
    refusal = build_refusal(Reason.COOKIES_TOO_LARGE)
    names = sorted(sizes, key=lambda name: -sizes[name])
    path = target.partition(b"?")[0]
    kept = [*refusal.headers, *_expiring(names, path, headers)]
    deletes_all = target == _DELETE_ALL.encode() and _is_own_wish(headers)
    if deletes_all:
        # Of the whole site, the session's too, and also what no name and path here would match.
        kept.append((b"clear-site-data", b'"cookies"'))
    if not may_be_page(method, headers):
        return refusal._replace(headers=kept)
    # No link sends a form again.
    body = _page(names, target if method != "POST" else b"/", deletes_all=deletes_all)
    kept = [pair for pair in kept if pair[0] not in (b"content-type", b"content-length")]
    kept += [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    return refusal._replace(headers=[*kept, (b"content-security-policy", OWN_PAGES_CSP)], body=body)


def _is_own_wish(headers: RawHeaders) -> bool:
    """Whether the browser says that no other site led it here."""
    return [value for name, value in headers if name == b"sec-fetch-site"] in ([b"same-origin"], [b"none"])


def _expiring(names: list[bytes], path: bytes, headers: RawHeaders) -> Iterator[tuple[bytes, bytes]]:
    """A cookie ends only under the domain and path it was set for, which a browser does not say: so under each."""
    places = [(domain, directory) for domain in _domains(headers) for directory in _directories(path)]
    left = MAX_LINES_BYTES
    for name in names:
        for domain, directory in places:
            line = _expired(name, domain, directory)
            left -= len(line)
            if left < 0:
                return
            yield b"set-cookie", line


def _expired(name: bytes, domain: bytes, directory: bytes) -> bytes:
    # A cookie without a name needs a value, or browsers take it for none at all.
    secure = b"; Secure" if settings.SECURE or name.startswith(b"__") else b""
    domain = b"; Domain=" + domain if domain else b""
    return b"%b=%b; Max-Age=0; Path=%b%b%b" % (name, b"" if name else b"x", directory, domain, secure)


def _domains(headers: RawHeaders) -> list[bytes]:
    """None, for the host alone; then the host and every domain above it."""
    hosts = [value for name, value in headers if name == b"host"]
    try:
        host = parse_authority(hosts[0]).host if len(hosts) == 1 else ""
    except HostRefused:
        host = ""
    labels = [] if host.startswith("[") or host[-1:].isdigit() else host.split(".")
    return [b"", *(".".join(labels[start:]).encode() for start in range(len(labels) - 1))]


def _directories(path: bytes) -> list[bytes]:
    if not _PLAIN_PATH.fullmatch(path):
        return [b"/"]
    ends = [place for place, byte in enumerate(path) if byte == ord("/")][1 : _MAX_DIRECTORIES + 1]
    directories = [b"/", *(part for end in ends for part in (path[:end], path[: end + 1])), path]
    return list(dict.fromkeys(directories))


def _page(names: list[bytes], target: bytes, *, deletes_all: bool) -> bytes:
    shown = [name.decode("utf-8", "replace")[:60] or "(without a name)" for name in names[:_SHOWN]]
    context = {
        "names": shown,
        "more": len(names) - len(shown),
        "again": target.decode("ascii") if _PLAIN_TARGET.fullmatch(target) else "/",
        "deletes_all": deletes_all,
        "ends_admin": settings.SESSION_COOKIE_NAME.encode("ascii") in names,
        "delete_all_url": _DELETE_ALL,
    }
    return render_to_string("cookies_too_large.html", context).encode()
