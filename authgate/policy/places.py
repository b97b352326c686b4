"""The host, path and methods that a route may have, in the one spelling that requests are reduced to."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import quote, unquote, unquote_to_bytes

from authgate.own_pages import RESERVED
from authgate.policy.schema import Route
from authgate.wire.authority import HostRefused, parse_authority
from authgate.wire.target import is_below

MAX_PATH = 1000

_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~-]|%[89A-F][0-9A-F])*)+")
_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")


def host_problem(host: str) -> str | None:
    """The reason why no request could ever have this host. An empty host means any."""
    if not host:
        return None
    name = host.removeprefix("*.")
    if not name.isascii():
        return _idn_problem(host)
    try:
        authority = parse_authority(name.encode("ascii"))
    except HostRefused:
        return f"{host!r} is not a host name, an address or *.name"
    if authority.port is not None or name.rsplit(":", 1)[-1] == "":
        return "without a port: a route serves its host on every port"
    if authority.host != name:
        return f"write it as {host[: -len(name)]}{authority.host}"
    if name != host and (name.startswith("[") or name.rsplit(".", 1)[-1].isdigit()):
        return "an address has no subdomains"
    return None


def _idn_problem(host: str) -> str:
    try:
        return f"write it in punycode, as browsers send it: {host.lower().encode('idna').decode('ascii')}"
    except UnicodeError:
        return f"{host!r} is not a host name"


def path_problem(path: str, match: str) -> str | None:
    if not path.startswith("/"):
        return f"must begin with '/', not {path[:20]!r}"
    if len(path) > MAX_PATH:
        return f"longer than {MAX_PATH} characters"
    if _PATH.fullmatch(path) is None:
        return _spelling_problem(path)
    segments = path.split("/")[1:]
    if "" in segments[:-1]:
        return "empty segments ('//') are refused in requests, so this could never match"
    if "." in segments or ".." in segments:
        return "'.' and '..' are refused in requests, so this could never match"
    if match == "prefix" and path != "/" and path.endswith("/"):
        return f"a prefix has no '/' at its end: {path.rstrip('/')} also covers everything below it"
    return None if _is_utf8(path) else "its percent-encoded bytes are not UTF-8"


def _is_utf8(path: str) -> bool:
    try:
        unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _spelling_problem(path: str) -> str:
    if "*" in path:
        return _wildcard_problem(path)
    wanted = quote(unquote(path), safe="/")
    # An escaped slash is not a slash, so there is nothing to suggest for it.
    if "%2F" not in path.upper() and _PATH.fullmatch(wanted):
        return f"requests are matched in one spelling; write it as {wanted}"
    return (
        "only letters, digits, '.', '_', '~', '-', '/' and percent-encoded UTF-8 such as %C3%A9: an app "
        "reads '@' and '%40' alike, so a path with such a character could be reached by its other spelling"
    )


def _wildcard_problem(path: str) -> str:
    above, base = path.rstrip("*"), path.rstrip("*").rstrip("/") or "/"
    instead = f": write {base}" if above.endswith("/") and _PATH.fullmatch(base) else ""
    return f"a path has no wildcards, and a prefix matches everything below it{instead}"


def method_problem(method: str) -> str | None:
    if not method.strip():
        return "an empty method is not allowed; leave methods out to serve all"
    if method in ("CONNECT", "TRACE"):
        return f"{method} is never served"
    if _METHOD.fullmatch(method) is None:
        return f"{method!r} is not a method: upper-case letters, such as GET"
    return None


def reserved_problem(route: Route, own_hosts: Collection[str], auth_prefix: str) -> str | None:
    """The reason if the path belongs to the gateway on a host that the route covers. `own_hosts` are canonical."""
    if is_below(route.path, auth_prefix):
        return f"{auth_prefix} belongs to the gateway itself on every host"
    prefix = next((prefix for prefix in RESERVED if is_below(route.path, prefix)), None)
    if prefix is None:
        return None
    taken = own_host_of(route, own_hosts)
    return taken and f"{prefix} belongs to the gateway itself on {taken}; give the route another host"


def own_host_of(route: Route, own_hosts: Collection[str]) -> str | None:
    """One of the gateway's own hosts that this route covers, or None."""
    return min((host for host in own_hosts if _covers(route.host, host)), default=None)


def _covers(route_host: str, host: str) -> bool:
    if route_host.startswith("*."):
        return host.endswith(route_host[1:])
    return route_host in ("", host)
