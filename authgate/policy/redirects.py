"""Routes that lead a browser elsewhere, instead of to a service."""

from __future__ import annotations

import re
from collections.abc import Iterator

from authgate.policy.places import host_problem
from authgate.policy.schema import Redirect, Route

_STATUSES = (301, 302, 303, 307, 308)
# What browsers read in one way only: no backslash, no user name, no second slash that would make a host of a path.
_SEGMENTS = r"(?:/(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})+)*/?"
_TO = re.compile(
    r"(?:https?://(?P<host>[a-z0-9.-]+|\[[0-9a-f:]+\])(?::[1-9][0-9]{0,4})?)?"
    rf"(?P<path>{_SEGMENTS})(?P<rest>(?:\?[!$-~]*)?(?:#[!$-~]*)?)"
)
_MAX_LENGTH = 2000


def location_of(redirect: Redirect, route: Route, path: str, query: bytes) -> str:
    """Where a request for this path leads: never to a host that the policy does not name."""
    to = redirect.to
    if redirect.keep_path:
        # It begins with a slash, and the policy's has none at its end: no path becomes the name of a host.
        to = to.rstrip("/") + path[len(route.path.rstrip("/")) :] or "/"
    return to + query.decode("ascii") if redirect.keep_query else to


def redirect_problems(route: Route) -> Iterator[tuple[str, str]]:
    """Pairs of a field and a message."""
    redirect = route.redirect
    if redirect is None:
        return
    if route.upstream:
        yield "upstream", "a route with redirect leads to no upstream"
    if route.cors == "pass":
        yield "cors", "there is no service to pass preflights to"
    if route.mcp:
        yield "mcp", "a redirect is no MCP server"
    if redirect.status not in _STATUSES:
        yield "redirect.status", f"must be one of {', '.join(map(str, _STATUSES))}"
    match = _TO.fullmatch(redirect.to) if redirect.to and len(redirect.to) <= _MAX_LENGTH else None
    if match is None or (match["host"] and host_problem(match["host"])) or not (match["host"] or match["path"]):
        yield "redirect.to", "must be a path such as /new, or https://host/path, in visible ASCII characters"
        return
    if match["rest"] and (redirect.keep_path or redirect.keep_query):
        yield "redirect.to", "has a query or fragment, to which nothing can be added: without keep_path and keep_query"
    if redirect.keep_path and route.paths == "as_sent":
        yield "redirect.keep_path", "paths as they were sent could name another host"
    if match["path"] == route.path and match["host"] in (None, route.host):
        yield "redirect.to", "leads to this route again"
