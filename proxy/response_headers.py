"""What of a response crosses the gateway on its way back. Pure."""

from __future__ import annotations

from typing import NamedTuple

from authgate.decision import RawHeaders
from proxy.headers import HOP_BY_HOP, BadFraming, connection_options, header_block, is_own_cookie

# Alt-Svc would lead browsers past the gateway; the request id is the gateway's.
_NOT_RETURNED = HOP_BY_HOP | {b"alt-svc", b"x-request-id"}


class Added(NamedTuple):
    """Headers of our own for a response, in both forms that servers want them."""

    pairs: RawHeaders
    block: bytes


class _Plan(NamedTuple):
    """What becomes of a response's headers, by their names alone: services send the same few sets of names."""

    kept: tuple[int, ...]
    connection: int  # its place, or -1
    is_plain: bool  # no value of them has to be looked at
    added: Added


_MAX_PLANS = 256


class ResponsePolicy:
    """How responses are finished: security headers an upstream lacks are added, its own are never replaced."""

    def __init__(self, defaults: RawHeaders) -> None:
        self._defaults = defaults
        self._unlistable = _UNLISTABLE.union(name for name, _ in defaults)
        self._plans: dict[tuple[tuple[bytes, ...], bool], _Plan] = {}

    def finish(self, headers: RawHeaders, *, private: bool) -> tuple[RawHeaders, Added]:
        """The upstream's headers that go on, and ours. Raises BadFraming when its framing is in doubt."""
        names = tuple([name for name, _ in headers])
        plan = self._plans.get((names, private)) or self._make_plan(names, private)
        if plan.is_plain and (plan.connection < 0 or headers[plan.connection][1] in (b"keep-alive", b"close")):
            return [headers[place] for place in plan.kept], plan.added
        if b"transfer-encoding" in names:
            _check_chunked(headers)
        return self._keep(headers), plan.added

    def _keep(self, headers: RawHeaders) -> RawHeaders:
        listed = connection_options(headers)
        return [
            (name, value)
            for name, value in headers
            if name not in _NOT_RETURNED
            and (name not in listed or name in self._unlistable)
            and not (name == b"set-cookie" and is_own_cookie(value))
        ]

    def _make_plan(self, names: tuple[bytes, ...], private: bool) -> _Plan:
        pairs = [pair for pair in self._defaults if pair[0] not in names]
        # A shared cache must not hand one caller's answer to another.
        if private and b"cache-control" not in names:
            pairs.append((b"cache-control", b"private"))
        plan = _Plan(
            tuple(place for place, name in enumerate(names) if name not in _NOT_RETURNED),
            names.index(b"connection") if names.count(b"connection") == 1 else -1,
            names.count(b"connection") < 2 and b"set-cookie" not in names and b"transfer-encoding" not in names,
            Added(pairs, header_block(pairs)),
        )
        if len(self._plans) >= _MAX_PLANS:
            self._plans.clear()
        self._plans[names, private] = plan
        return plan


# An upstream's Connection header must not make these vanish on the way out.
_UNLISTABLE = frozenset(
    (b"set-cookie", b"content-length", b"content-type", b"content-encoding", b"cache-control", b"location",
     b"content-security-policy", b"www-authenticate", b"x-frame-options", b"x-content-type-options")
)  # fmt: skip


def _check_chunked(headers: RawHeaders) -> None:
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings != [b"chunked"]:
        raise BadFraming
