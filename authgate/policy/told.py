"""Which headers tell services who calls, and so which no client may send."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import msgspec

from authgate.policy.schema import IdentityValue, PolicyDocument, Route
from authgate.policy.shaping import key_of
from authgate.wire.framing import is_standard_request

_AUTHORIZATION = b"authorization"
_TOKEN = "access_token"  # noqa: S105  (a word of the policy)
_NOTHING: frozenset[bytes] = frozenset()


class Told(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The further identity headers of one route. Names in lower case."""

    values: tuple[tuple[bytes, str | IdentityValue], ...]
    tokens: tuple[bytes, ...]  # with the very token that the caller has sent
    empty: bytes  # the lines for a caller who is unknown


def told_of(route: Route) -> Told | None:
    if not route.identity_headers:
        return None
    pairs = [(key_of(name), value) for name, value in route.identity_headers.items()]
    return Told(
        values=tuple([pair for pair in pairs if pair[1] != _TOKEN]),
        tokens=tuple([name for name, value in pairs if value == _TOKEN]),
        empty=b"".join(b"%b: \r\n" % name for name, _ in pairs),
    )


def told_claims(document: PolicyDocument) -> frozenset[str]:
    """The names of the claims that some service is told."""
    values = [value for route in document.routes for value in route.identity_headers.values()]
    claims = [value.claim or value.basic_from for value in values if isinstance(value, IdentityValue)]
    return frozenset(claims) - {""}


class Unsendable:
    """The names that no client may send since a service believes them: on all routes, or to the same targets."""

    def __init__(self, document: PolicyDocument) -> None:
        self._everywhere = frozenset(name for route in document.routes for name in told_names(route))
        self._to_target: defaultdict[str, set[bytes]] = defaultdict(set)
        for route in document.routes:
            if names := set_for_target(route):
                for target in targets_of(document, route):
                    self._to_target[target].update(names)
        self._known: dict[tuple[str, ...], frozenset[bytes]] = {}

    def of(self, targets: tuple[str, ...]) -> frozenset[bytes]:
        if not self._to_target:
            return self._everywhere
        known = self._known.get(targets)
        if known is None:
            own = (self._to_target.get(target, _NOTHING) for target in targets)
            known = self._known[targets] = self._everywhere.union(*own)
        return known


def told_names(route: Route) -> Iterator[bytes]:
    """Authorization is left out: to another service it may be the caller's own."""
    return (key for name in route.identity_headers if (key := key_of(name)) != _AUTHORIZATION)


def set_for_target(route: Route) -> frozenset[bytes]:
    """The names that the services of this route may believe: of what it sets, all that not any client has to send."""
    names = {_AUTHORIZATION} if sets_authorization(route) else set()
    if route.request_headers is not None:
        names.update(key for name in route.request_headers.set if not is_standard_request(key := key_of(name)))
    return frozenset(names)


def sets_authorization(route: Route) -> bool:
    return any(name.lower() == "authorization" for name in route.identity_headers)


def targets_of(document: PolicyDocument, route: Route) -> tuple[str, ...]:
    upstream = document.upstreams.get(route.upstream)
    return upstream.targets if upstream is not None else ()
