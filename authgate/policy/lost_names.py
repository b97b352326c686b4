"""Service tokens and personal tokens that name a role or route which a policy does not have.

Nothing else changes about them: a role or route that gets the name later is theirs again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from django.utils import timezone

from authgate.models.service_tokens import ServiceToken, in_force

_MOST = 10


class _Route(msgspec.Struct):
    name: str


class Names(msgspec.Struct):
    """What tokens name of a stored policy. Of thousands of routes nothing else is read."""

    roles: dict[str, msgspec.Raw] = {}
    routes: list[_Route] = []


class Lost(NamedTuple):
    token: ServiceToken
    noun: str
    name: str

    def __str__(self) -> str:
        kind = "service" if self.token.person is None else "personal"
        return f"{kind} token {str(self.token)!r} names the {self.noun} {self.name!r}"


_decoder = msgspec.json.Decoder(Names)


def find_lost(stored: str) -> Iterator[Lost]:
    """Of the tokens in force."""
    known = _named(stored)
    for token in in_force(timezone.now()).exclude(roles=[], routes=[]).select_related("person").order_by("name", "pk"):
        for noun, names in (("role", token.roles), ("route", token.routes)):
            yield from (Lost(token, noun, name) for name in names if (noun, name) not in known)


def warn_of_lost(before: str, after: str) -> list[str]:
    """In words; of the names that `before` still had."""
    had = _named(before)
    if had <= _named(after):
        return []
    lines = [f"the {lost}, which is no longer there" for lost in find_lost(after) if (lost.noun, lost.name) in had]
    return lines if len(lines) <= _MOST else [*lines[:_MOST], f"… and {len(lines) - _MOST} more names of tokens"]


def _named(stored: str) -> set[tuple[str, str]]:
    """Nothing of a policy that cannot be read."""
    try:
        names = _decoder.decode(stored)
    except msgspec.MsgspecError:
        return set()
    return {*(("role", name) for name in names.roles), *(("route", route.name) for route in names.routes)}
