"""The route table: the compiled, immutable form of the document's routes, which finds the route of a request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from authgate.policy.below import PathsBelow
from authgate.policy.errors import PolicyError, PolicyInvalid
from authgate.policy.mcp import ToolRules, rules_of
from authgate.policy.pace import Pace, at_once
from authgate.policy.places import host_problem, method_problem, path_problem
from authgate.policy.schema import PolicyDocument, RateLimit, Route, Timeouts, Upstream
from authgate.policy.shaping import CorsRules, ResponseRules, cors_rules, request_rules, response_rules
from authgate.policy.told import Told, Unsendable, told_claims, told_of
from authgate.policy.validation import served_methods
from authgate.reason import Reason
from authgate.wire.path_as_sent import may_name_host
from authgate.wire.target import careless_path, fold_case

DEFAULT_TIMEOUTS = Timeouts(connect=5.0, response=60.0, idle=60.0)

# The reason with which a route lets callers in.
_REASONS = {"public": Reason.PUBLIC, "authenticated": Reason.AUTHENTICATED, "roles": Reason.ROLE}
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_NO_UPSTREAM = Upstream(targets=())


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate limit ready for arithmetic (GCRA): seconds per request, and requests served at once."""

    name: str
    interval: float
    burst: int
    per: str
    interval_ns: int = field(init=False)
    credit_ns: int = field(init=False)  # the credit of a whole burst

    def __post_init__(self) -> None:
        interval = int(self.interval * 1_000_000_000)
        object.__setattr__(self, "interval_ns", interval)
        object.__setattr__(self, "credit_ns", interval * max(1, self.burst))


# Hidden from the garbage collector, like the maps below, which hold numbers instead of entries: a collection
# that walks ten thousand routes stops all requests for tens of milliseconds.
class RouteEntry(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A route with all that it refers to resolved. Compared by identity: caches may key on it."""

    route: Route
    roles: frozenset[str]
    upstream: Upstream
    limit: Limit | None
    timeouts: Timeouts  # every field but `total` set: the route's, else the upstream's, else the default
    pass_headers: frozenset[bytes]  # lower case
    reason: Reason  # what lets its callers in, or why nobody may
    asks_of_token: bool = False  # for issuers, scopes or an audience
    mcp: ToolRules | None = None  # of a route to an MCP server
    told: Told | None = None  # further headers that tell the service who calls
    unsendable: frozenset[bytes] = frozenset()  # headers that no client may send here, as services believe the gateway
    request_lines: bytes = b""  # that the route adds to each request
    response_rules: ResponseRules | None = None
    cors: CorsRules | None = None
    problem: str = ""  # why it no longer validates; then it denies


# The route, and whether an application could read the path as one that belongs to another route
# ("/public/admin%3Bx", "/Admin").
Found = tuple[RouteEntry | None, bool]

# The number of the route by method; "" is for all other methods.
_Methods = dict[str, int]


class _Paths:
    """The routes of one host: exact paths in a map, prefixes in a tree of numbered nodes, one per segment."""

    __slots__ = ("below", "depth", "ending", "entries", "exact")

    def __init__(self, entries: list[RouteEntry]) -> None:
        self.entries = entries
        self.exact: dict[str, _Methods] = {}
        # For each node, the nodes below it and the routes that end in it. "/" ends in the node of the empty
        # segment before the first slash; node 0 is above that.
        self.below: list[dict[str, int]] = [{}]
        self.ending: list[_Methods] = [{}]
        self.depth = 0

    def methods_at(self, route: Route) -> _Methods:
        """The slot of a route, made for the first route there."""
        if route.match == "exact":
            return self.exact.setdefault(route.path, {})
        segments = route.path.rstrip("/").split("/")
        self.depth = max(self.depth, len(segments))
        node = 0
        for segment in segments:
            node = self.below[node].setdefault(segment, len(self.below))
            if node == len(self.below):
                self.below.append({})
                self.ending.append({})
        return self.ending[node]

    def match(self, path: str, method: str) -> RouteEntry | None:
        found: int | None = None
        methods = self.exact.get(path)
        if methods is not None:
            found = methods.get(method, methods.get(""))
            if found is not None:
                return self.entries[found]
        below, ending = self.below, self.ending
        node = 0
        # A hostile path of thousands of segments is split no deeper than the deepest route, and the walk ends where
        # no route continues.
        for segment in path.split("/", self.depth):
            node = below[node].get(segment, -1)
            if node < 0:
                break
            methods = ending[node]
            if methods:
                number = methods.get(method)
                found = methods.get("", found) if number is None else number
        return None if found is None else self.entries[found]


class RouteTable:
    """All routes of a policy. Of those whose host, path and method all match, the most specific wins.

    Exact host over wildcard over any; exact path over longer prefix over shorter; named method over all.
    """

    __slots__ = (
        "_any", "_entries", "_folded", "_has_exact", "_has_upper_case", "_hosts", "_wildcards", "below", "has_as_sent",
        "has_cors", "has_mcp", "is_plain", "told_claims",
    )  # fmt: skip

    def __init__(self, entries: list[RouteEntry] | None = None) -> None:
        self._entries = [] if entries is None else entries
        # The same routes with their case folded, if one has upper case. A table never refers to itself, so that a
        # replaced one is freed at once, with all its routes.
        self._folded: RouteTable | None = None
        self.below = PathsBelow()
        # Only for exact paths does a "/" at the end make a difference. Without those and without upper case, an
        # ordinary path (lower case, no "/" at its end) is no careless spelling of any route.
        self._has_exact = self._has_upper_case = False
        self.is_plain = True
        self.has_as_sent = self.has_mcp = self.has_cors = False
        self.told_claims: frozenset[str] = frozenset()  # names of claims that some service is told
        self._hosts: dict[str, _Paths] = {}
        self._wildcards: dict[str, _Paths] = {}  # by the part after "*"
        self._any = _Paths(self._entries)

    @property
    def entries(self) -> Sequence[RouteEntry]:
        """The routes in the order of the document."""
        return self._entries

    def find(self, host: str, path: str, method: str) -> Found:
        entry = self.match(host, path, method)
        return entry, entry is not None and self._has_second_reading(entry, host, path, method)

    def match(self, host: str, path: str, method: str) -> RouteEntry | None:
        """The route for a host, path and method in canonical form. None refuses everybody."""
        paths = self._hosts.get(host)
        if paths is not None:
            found = paths.match(path, method)
            if found is not None:
                return found
        if self._wildcards:
            for paths in self._matching_wildcards(host):
                found = paths.match(path, method)
                if found is not None:
                    return found
        return self._any.match(path, method)

    def has_closer(self, entry: RouteEntry, host: str, path: str, method: str) -> bool:
        """Whether a more specific route than `entry` matches if case and a "/" at the end are ignored.

        Express, ASP.NET and Windows ignore them; "/SECRET" and "/secret/" must not reach "/secret" by a looser route.
        """
        folded = fold_case(path)
        if (folded != path or self._folded is not None) and self._leads_closer(entry, host, folded, method):
            return True
        if not self._has_exact:
            return False
        return self._leads_closer(entry, host, _turned(folded), method)

    def takes_as_sent(self, host: str, path: str, method: str) -> bool:
        """Whether a path without a canonical form belongs to a route that takes such paths. It is matched letter by
        letter: nothing lies below such a route, so whatever else the path may mean there belongs to the same route.
        """
        return takes_as_sent(self.match(host, path, method), path)

    def names_host(self, host: str) -> bool:
        """Whether some route is for this very host or a wildcard over it."""
        return host in self._hosts or next(self._matching_wildcards(host), None) is not None

    def _has_second_reading(self, entry: RouteEntry, host: str, path: str, method: str) -> bool:
        if self.is_plain and path.islower() and "%" not in path and "." not in path and path[-1] != "/":
            return False  # most paths: they have one spelling and one reading
        reading = careless_path(path)
        owner = entry if reading == path else self.match(host, reading, method)
        if owner is None:
            # Not below the entry either, whose own path is careless ("/app."): whatever has it otherwise is another's.
            folded = fold_case(reading)
            spellings = (folded, _turned(folded))
            return any((self._folded or self).match(host, each, method) not in (None, entry) for each in spellings)
        return owner is not entry or self.has_closer(entry, host, reading, method)

    def _leads_closer(self, entry: RouteEntry, host: str, folded: str, method: str) -> bool:
        other = (self._folded or self).match(host, folded, method)
        return other is not None and other is not entry and _closeness(other.route) > _closeness(entry.route)

    def _matching_wildcards(self, host: str) -> Iterator[_Paths]:
        dot = host.find(".", 1)
        while dot != -1:
            paths = self._wildcards.get(host[dot:])
            if paths is not None:
                yield paths
            dot = host.find(".", dot + 1)

    def _paths_of(self, host: str) -> _Paths:
        if not host:
            return self._any
        if host.startswith("*"):
            return self._wildcards.setdefault(host[1:], _Paths(self._entries))
        return self._hosts.setdefault(host, _Paths(self._entries))

    def _note_spelling(self, route: Route) -> None:
        self.has_as_sent |= route.paths == "as_sent"
        self.has_mcp |= route.mcp
        self.has_cors |= route.cors is not None
        self._has_exact |= route.match == "exact"
        self._has_upper_case |= fold_case(route.path) != route.path
        self.is_plain &= not self._has_upper_case and (route.path == "/" or route.path[-1] != "/")

    def _folded_copy(self, routes: Iterable[Route]) -> RouteTable:
        folded = RouteTable(self._entries)
        for number, route in enumerate(routes):
            slot = folded._paths_of(route.host).methods_at(replace(route, path=fold_case(route.path)))
            for method in served_methods(route):
                # Any of the routes that differ in case alone will do: none of them is more specific.
                slot.setdefault(method, number)
        return folded

    def _add(self, route: Route, entry: RouteEntry) -> None:
        number = len(self._entries)
        self._entries.append(entry)
        slot = self._paths_of(route.host).methods_at(route)
        for method in served_methods(route):
            # Validation reports ties on both routes. Without it, a tie is still refused here, never guessed.
            taken = self._entries[slot.setdefault(method, number)]
            if taken is not entry and not (taken.problem and entry.problem):
                raise PolicyInvalid([PolicyError(("routes", route.name, "path"), f"ties with {taken.route.name!r}")])


def build_table(document: PolicyDocument, errors: Iterable[PolicyError] = (), *, pace: Pace = at_once) -> RouteTable:
    """The table of a document. Routes with errors stay in and deny.

    Raises PolicyInvalid for a route that cannot be placed at all: without it, a looser route would get its requests.
    """
    problems = _problems_by_route(errors)
    parts = _Parts(document)
    table = RouteTable()
    table.told_claims = told_claims(document)
    for index, route in enumerate(pace(document.routes)):
        _check_placeable(route, index)
        table._add(route, parts.entry(route, problems.get(route.name or index, "")))
        table._note_spelling(route)
    table.below = PathsBelow(pace(document.routes))
    if table._has_upper_case:
        table._folded = table._folded_copy(pace(document.routes))
    return table


def takes_as_sent(entry: RouteEntry | None, path: str) -> bool:
    """Of a path that path_as_sent() has checked. What the service receives never begins with "//"."""
    return (
        entry is not None
        and entry.route.paths == "as_sent"
        and not may_name_host(path[len(stripped_prefix(entry.route)) :])
    )


def stripped_prefix(route: Route) -> str:
    """What the upstream does not see of the path."""
    return route.path if route.strip_prefix and route.path != "/" else ""


def service_path(route: Route, path: str) -> str:
    """The path of a request as the service receives it."""
    return route.add_prefix + (path[len(stripped_prefix(route)) :] or "/")


def _turned(path: str) -> str:
    """With a "/" at the end, or without the one that is there."""
    return path[:-1] if path[-1] == "/" else f"{path}/"


def _closeness(route: Route) -> tuple[bool, int, bool, int]:
    """Of two routes for the same request the greater wins; equal for those that differ in case alone."""
    is_name = bool(route.host) and not route.host.startswith("*")
    return is_name, len(route.host), route.match == "exact", len(fold_case(route.path).rstrip("/"))


def match_order(route: Route) -> tuple[object, ...]:
    """Sort key for showing routes: the first wins if two overlap."""
    kind = 2 if not route.host else int(route.host.startswith("*"))
    wider = -route.host.count(".") if kind == 1 else 0
    depth = -len(route.path.rstrip("/").split("/"))
    return (kind, wider, route.host, route.match != "exact", depth, route.path, not route.methods, route.name)


def _problems_by_route(errors: Iterable[PolicyError]) -> dict[str | int, str]:
    problems: dict[str | int, str] = {}
    for error in errors:
        if error.place[:1] == ("routes",) and len(error.place) > 1:
            problems.setdefault(error.place[1], str(error))
    return problems


def _check_placeable(route: Route, index: int) -> None:
    faults = [("host", host_problem(route.host)), ("path", path_problem(route.path, route.match))]
    faults += [("methods", method_problem(method)) for method in route.methods]
    errors = [PolicyError(("routes", route.name or index, field), why) for field, why in faults if why]
    if errors:
        raise PolicyInvalid(errors)


class _Parts:
    """The things that routes refer to, resolved once and shared by all of them."""

    def __init__(self, document: PolicyDocument) -> None:
        self._upstreams = document.upstreams
        self._role_sets: dict[tuple[str, ...], frozenset[str]] = {}
        self._header_sets: dict[tuple[str, ...], frozenset[bytes]] = {}
        self._unsendable = Unsendable(document)
        self._limits = {name: _limit(name, limit) for name, limit in document.rate_limits.items()}

    def entry(self, route: Route, problem: str) -> RouteEntry:
        upstream = self._upstreams.get(route.upstream, _NO_UPSTREAM)
        limit = self._limits.get(route.rate_limit)
        lacks_upstream = route.upstream not in self._upstreams and (route.redirect is None or bool(route.upstream))
        if lacks_upstream or (route.rate_limit and limit is None):
            problem = problem or "its upstream or rate limit is unknown"
        changes, unsendable = request_rules(route), self._unsendable.of(upstream.targets)
        return RouteEntry(
            route=route,
            roles=self._role_sets.setdefault(route.roles, frozenset(route.roles)),
            upstream=upstream,
            limit=limit,
            timeouts=_merged(route.timeouts, upstream.timeouts),
            pass_headers=self._header_sets.setdefault(route.pass_headers, _header_set(route)),
            reason=_reason(route, problem),
            asks_of_token=bool(route.issuers or route.scopes or route.audience),
            mcp=rules_of(route),
            told=told_of(route),
            unsendable=unsendable if changes is None else unsendable | changes.removed,
            request_lines=changes.lines if changes is not None else b"",
            response_rules=response_rules(route),
            cors=cors_rules(route),
            problem=problem,
        )


def _header_set(route: Route) -> frozenset[bytes]:
    return frozenset(name.lower().encode() for name in route.pass_headers)


def _reason(route: Route, problem: str) -> Reason:
    if not route.enabled:
        return Reason.ROUTE_DISABLED
    return Reason.ROUTE_INVALID if problem else _REASONS.get(route.access, Reason.ROUTE_INVALID)


def _limit(name: str, limit: RateLimit) -> Limit | None:
    count, _, unit = limit.rate.partition("/")
    if not count.isdecimal() or not int(count) or unit not in _SECONDS:
        return None
    return Limit(name, _SECONDS[unit] / int(count), max(1, limit.burst), limit.per)


def _merged(route: Timeouts, upstream: Timeouts) -> Timeouts:
    def first(*values: float | None) -> float | None:
        return next((value for value in values if value is not None), None)

    if route == upstream == Timeouts():
        return DEFAULT_TIMEOUTS
    return Timeouts(
        connect=first(route.connect, upstream.connect, DEFAULT_TIMEOUTS.connect),
        response=first(route.response, upstream.response, DEFAULT_TIMEOUTS.response),
        idle=first(route.idle, upstream.idle, DEFAULT_TIMEOUTS.idle),
        total=route.total,
    )
