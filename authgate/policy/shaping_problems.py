"""What is wrong with how a route changes the heads of requests and responses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from authgate.policy.places import host_problem, method_problem, path_problem
from authgate.policy.schema import Cors, HeaderRules, Route
from authgate.policy.shaping import CORS_RESPONSE, key_of
from authgate.policy.targets import target_problem
from authgate.wire.header_rules import SECURITY_DEFAULTS, route_may_change_request, route_may_change_response
from authgate.wire.header_rules import SECURITY_OPTIONAL as _OPTIONAL

Problems = Iterator[tuple[str, str]]
_MAX_HEADERS = 50
_MAX_AGE = 86400
_MAX_BODY = 2**50
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+|\[[0-9a-f:]+\])(?::(?P<port>[1-9][0-9]{0,4}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_VALUE = re.compile(r"[!-~](?:[\t -~]{0,3998}[!-~])?")


def shaping_problems(route: Route) -> Problems:
    """Pairs of a field and a message."""
    yield from _security_problems(route)
    if route.add_prefix and (problem := _prefix_problem(route.add_prefix)):
        yield "add_prefix", problem
    if route.upstream_host and (problem := target_problem(f"http://{route.upstream_host}")):
        yield "upstream_host", f"{route.upstream_host!r}: {_of_host(problem)}"
    if route.upstream_host and route.preserve_host:
        yield "upstream_host", "has no effect with preserve_host: true"
    if route.compress and route.mcp:
        yield "compress", "not for an MCP server, whose answers the gateway reads"
    if route.max_body is not None and not 0 <= route.max_body <= _MAX_BODY:
        yield "max_body", f"must be a number of bytes from 0 to {_MAX_BODY}"
    if route.request_headers is not None:
        yield from _conflicts(route, route.request_headers)
        yield from _rule_problems("request_headers", route.request_headers, _request_problem)
    if isinstance(route.cors, Cors):
        yield from _cors_problems(route, route.cors)
    if route.response_headers is not None:
        yield from _rule_problems("response_headers", route.response_headers, _response_problem)


def _of_host(problem: str) -> str:
    """What is wrong with a target that is a host alone."""
    return problem.replace("http://host", "host").replace(
        "only scheme, host and port; no", "only host and port; no scheme,"
    )


def _security_problems(route: Route) -> Problems:
    place, headers = "security_headers", route.security_headers
    if len({name.lower() for name in headers}) != len(headers):
        yield place, "a header is named twice"
    for name, value in headers.items():
        key = key_of(name)
        if key == b"strict-transport-security":
            yield place, f"{name} is for the whole host, with the gateway's own pages, so no route changes it"
        elif key not in SECURITY_DEFAULTS and key not in _OPTIONAL:
            yield place, f"{name!r} is no security header that is known here; response_headers sets any other"
        elif value is None and key in _OPTIONAL:
            yield place, f"{name} is not added unless a value is given; to take out the service's own: response_headers"
        elif value is not None and not _VALUE.fullmatch(value):
            yield place, f"{name}: {_VALUE_PROBLEM}"


_VALUE_PROBLEM = "a value is at most 4000 visible ASCII characters, with spaces only between them"


def _rule_problems(place: str, rules: HeaderRules, name_problem: Callable[[str, str], str | None]) -> Problems:
    names = [*rules.set, *rules.add, *rules.remove]
    if len(names) > _MAX_HEADERS:
        yield place, f"at most {_MAX_HEADERS} headers"
    if len({name.lower() for name in names}) != len(names):
        yield place, "a header is named twice"
    for verb, named in (("set", rules.set), ("add", rules.add), ("remove", rules.remove)):
        for name in named:
            if problem := name_problem(name, verb):
                yield f"{place}.{verb}", f"{name!r}: {problem}"
    for verb, values in (("set", rules.set), ("add", rules.add)):
        for name, value in values.items():
            if not _VALUE.fullmatch(value):
                yield f"{place}.{verb}", f"{name}: {_VALUE_PROBLEM}"


def _prefix_problem(prefix: str) -> str | None:
    return path_problem(prefix, "prefix") or ("must not end with /" if prefix.endswith("/") else None)


def _cors_problems(route: Route, cors: Cors) -> Problems:
    if not cors.origins:
        yield "cors.origins", "at least one origin is needed"
    for origin in cors.origins:
        if origin != "*" and (problem := _origin_problem(origin)):
            yield "cors.origins", f"{origin!r}: {problem}"
    if "*" in cors.origins and len(cors.origins) > 1:
        yield "cors.origins", '"*" stands alone'
    if "*" in cors.origins and cors.credentials:
        yield "cors.credentials", 'not with "*": any site could then act as whoever is signed in; name the origins'
    for method in cors.methods:
        if problem := method_problem(method):
            yield "cors.methods", problem
    for field, names in (("headers", cors.headers), ("expose", cors.expose)):
        for name in names:
            if not _TOKEN.fullmatch(name) or (name == "*" and cors.credentials):
                yield f"cors.{field}", f"{name!r} is not the name of a header, or is * with credentials"
    if not 0 <= cors.max_age <= _MAX_AGE:
        yield "cors.max_age", f"must be from 0 to {_MAX_AGE} seconds"
    if route.response_headers is not None:
        for name in (*route.response_headers.set, *route.response_headers.add, *route.response_headers.remove):
            if key_of(name) in CORS_RESPONSE:
                yield "response_headers", f"{name!r} is set by cors"


def _origin_problem(origin: str) -> str | None:
    match = _ORIGIN.fullmatch(origin)
    if match is None or host_problem(match["host"]) or "*" in origin:
        return "must be as browsers write it: https://app.example.com, in lower case and without a path"
    if match["port"] == _DEFAULT_PORTS[match["scheme"]]:
        return f"browsers leave out :{match['port']} there"
    return None


def _conflicts(route: Route, rules: HeaderRules) -> Problems:
    told = set(map(key_of, route.identity_headers))
    for name in (*rules.set, *rules.add, *rules.remove):
        if key_of(name) in told:
            yield "request_headers", f"{name!r} is in identity_headers already"
        if route.mcp and key_of(name) == b"accept-encoding":
            yield "request_headers", f"{name} is set by the gateway for an MCP server"


def _request_problem(name: str, verb: str) -> str | None:
    if route_may_change_request(key_of(name)):
        return None
    if name.lower() == "authorization":
        return "credentials are no part of a policy; pass_authorization passes on the caller's"
    return "cannot be changed: it is the gateway's, says who calls (identity_headers), or how the request is framed"


def _response_problem(name: str, verb: str) -> str | None:
    key = key_of(name)
    if route_may_change_response(key) or (verb == "remove" and key in (b"set-cookie", b"location", b"refresh")):
        return None
    return "cannot be changed: it is the gateway's, names a place, or says how the response is framed"
