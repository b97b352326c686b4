"""Which of several targets a request goes to."""

from __future__ import annotations

import hmac
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b

from authgate.bounded import Bounded
from authgate.decision import Allowed
from authgate.policy.schema import Balance
from authgate.ratelimit.clients import client_key
from authgate.wire.cookies import cookie_line, cookie_pairs
from proxy.upstream.endpoint import Endpoint

_MOST_CLIENTS = 4096


class Balancer:
    """Those that may serve come first, in the order of the method; the others are for when none of them does."""

    def __init__(
        self, endpoints: Sequence[Endpoint], balance: Balance, weights: Mapping[Endpoint, int], affinity: Affinity
    ) -> None:
        self._endpoints = endpoints
        self._weights = weights
        self._balance = balance
        self._cycle = cycle_of(endpoints, weights)
        self._turn = 0
        self._affinity = affinity
        self._by_client: Bounded[str, list[Endpoint]] = Bounded(_MOST_CLIENTS)

    def first(self, allowed: Allowed, now: float) -> Endpoint:
        for endpoint in self._order(allowed):
            if endpoint.health.may_serve(now):
                return endpoint
        return next(iter(self._order(allowed)))

    def order(self, allowed: Allowed, now: float) -> list[Endpoint]:
        """Each of them once."""
        order = list(dict.fromkeys(self._order(allowed)))
        up = [endpoint for endpoint in order if endpoint.health.may_serve(now)]
        return [*up, *(endpoint for endpoint in order if endpoint not in up)] if len(up) < len(order) else order

    def advance(self, taken: Endpoint) -> None:
        """The turn is now that of the one behind `taken`."""
        for place in self._places():
            if self._cycle[place] is taken:
                self._turn = place + 1
                return

    def _order(self, allowed: Allowed) -> Iterable[Endpoint]:
        if self._balance == "least_connections":
            return sorted(dict.fromkeys(self._in_turn()), key=self._load)
        if self._balance == "client":
            return self._of_client(client_key(allowed.facts.client))
        if self._balance == "cookie" and (named := self._affinity.find(allowed)) is not None:
            return [named, *self._in_turn()]
        return self._in_turn()

    def _in_turn(self) -> Iterator[Endpoint]:
        return (self._cycle[place] for place in self._places())

    def _places(self) -> Iterator[int]:
        length = len(self._cycle)
        return ((self._turn + step) % length for step in range(length))

    def _load(self, endpoint: Endpoint) -> float:
        return (endpoint.in_use + 1) / self._weights[endpoint]

    def _of_client(self, client: str) -> list[Endpoint]:
        """By rendezvous: a target that leaves or comes moves its own share of the clients alone."""
        order = self._by_client.get(client)
        if order is None:
            order = sorted(self._endpoints, key=lambda each: _score(client, str(each.target), self._weights[each]))
            self._by_client.put(client, order)
        return order


class Affinity:
    """The cookie that leads a browser to the same target again. It names none: its value is a keyed hash."""

    def __init__(self, upstream: str, endpoints: Iterable[Endpoint], key: bytes, *, secure: bool) -> None:
        self.name = f"{'__Host-' if secure else ''}authgate_target_{_tag(key, upstream)[:12]}".encode()
        self._by_tag = {_tag(key, f"{upstream} {each.target}").encode(): each for each in endpoints}
        self._tags = {str(endpoint.target): tag for tag, endpoint in self._by_tag.items()}
        self._attributes = b"; Path=/; HttpOnly; SameSite=Lax" + (b"; Secure" if secure else b"")

    def find(self, allowed: Allowed) -> Endpoint | None:
        for pair in cookie_pairs(cookie_line(allowed.facts.headers)):
            name, _, value = pair.partition(b"=")
            if name == self.name:
                return self._by_tag.get(value)
        return None

    def set_cookie(self, allowed: Allowed, target: str) -> bytes | None:
        """The value of the Set-Cookie for a request that went there. None: the browser has it."""
        tag = self._tags.get(target)
        found = self.find(allowed)
        if tag is None or (found is not None and str(found.target) == target):
            return None
        return b"%b=%b%b" % (self.name, tag, self._attributes)


def cycle_of(endpoints: Sequence[Endpoint], weights: Mapping[Endpoint, int]) -> list[Endpoint]:
    """Each as often as its weight, and evenly spread."""
    divisor = math.gcd(*(weights[endpoint] for endpoint in endpoints))
    counts = [weights[endpoint] // divisor for endpoint in endpoints]
    places = sorted(((turn + 0.5) / count, number) for number, count in enumerate(counts) for turn in range(count))
    return [endpoints[number] for _, number in places]


def _score(client: str, target: str, weight: int) -> float:
    digest = blake2b(f"{client} {target}".encode(), digest_size=7).digest()
    return -math.log((int.from_bytes(digest) + 1) / (2**56 + 1)) / weight


def _tag(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode(), "sha256")[:12].hex()
