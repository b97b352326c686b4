"""Who may change the policy. Only a superuser changes the roles that open /admin/ or the management API, and their
grants: whoever could, might make themselves one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from authgate.policy.errors import PolicyError, PolicyInvalid
from authgate.policy.schema import AdminAccess, Grant, PolicyDocument, Role

_ROLE = "only a superuser may change what a role opens in /admin/"
_GRANT = "only a superuser may change who has a role that opens /admin/"
_API_ROLE = "only a superuser may change what a role opens in the API"
_API_GRANT = "only a superuser may change who has a role that opens the API"
OPENS_ADMIN = ("staff", "superuser")  # of what a role may say
_RISING: tuple[AdminAccess, ...] = ("none", "staff", "superuser")


class Actor(Protocol):
    """The one who changes policy or trust."""

    @property
    def name(self) -> str:
        """The author of the revision."""

    def access(self) -> AdminAccess:
        """The actor's access by the database as it is now. Called after waiting for the lock, never before."""


@dataclass(frozen=True)
class Machine:
    """A command on this machine. Its user owns the database, so no rule can bind them."""

    name: str

    def access(self) -> AdminAccess:
        return "superuser"


class PowersRefused(PolicyInvalid):
    """The policy is valid, but this actor may not publish it."""


class _Powers(msgspec.Struct):
    """The part of a stored policy that decides about /admin/. Thousands of routes are skipped without parsing."""

    roles: dict[str, Role] = {}
    grants: tuple[Grant, ...] = ()


_decoder = msgspec.json.Decoder(_Powers)


def read_powers(stored: str) -> PolicyDocument:
    """The policy's roles and grants alone. Raises PolicyInvalid."""
    try:
        powers = _decoder.decode(stored)
    except msgspec.MsgspecError as error:
        raise PolicyInvalid([PolicyError((), f"the live policy cannot be read: {error}")]) from error
    return PolicyDocument(roles=powers.roles, grants=powers.grants)


def find_refusals(actor: Actor, live: str | None, new: PolicyDocument) -> list[PolicyError]:
    """The reasons why this actor may not replace `live`, as stored, by `new`. Call it inside the lock."""
    access = actor.access()
    if access == "superuser":
        return []
    if access == "none":
        return [PolicyError((), "you may no longer change the policy: sign in again")]
    return _changes(read_powers(live) if live else PolicyDocument(), new)


def includes(access: AdminAccess, needed: AdminAccess) -> bool:
    return _RISING.index(access) >= _RISING.index(needed)


def highest_access(document: PolicyDocument, roles: Iterable[str]) -> AdminAccess:
    given = {document.roles[name].admin for name in roles if name in document.roles}
    return "superuser" if "superuser" in given else "staff" if "staff" in given else "none"


def api_access(document: PolicyDocument, roles: Iterable[str]) -> AdminAccess:
    """What an access token with these roles may do in the management API: what staff may, by a role with `admin: api`.

    Roles that open /admin/ give a token nothing. Nor does `api` open /admin/ to anybody.
    """
    return "staff" if any(document.roles[name].admin == "api" for name in roles if name in document.roles) else "none"


def _changes(before: PolicyDocument, after: PolicyDocument) -> list[PolicyError]:
    old, new = _encoded(before), _encoded(after)
    added = {new[key] for key in new.keys() - old.keys()}
    removed = {_without_number(old[key]) for key in old.keys() - new.keys()}
    return sorted(added | removed, key=str)


def _without_number(fault: PolicyError) -> PolicyError:
    """The fault without the number of a removed grant, which means another grant in the new policy."""
    return fault._replace(place=fault.place[:1]) if fault.place[0] == "grants" else fault


def _encoded(document: PolicyDocument) -> dict[bytes, PolicyError]:
    """The roles that open anything and their grants, as JSON: in Python a grant for true equals one for 1."""
    opening = {name: role.admin for name, role in document.roles.items() if role.admin != "none"}
    found = {
        msgspec.json.encode((name, opens)): PolicyError(
            ("roles", name, "admin"), _API_ROLE if opens == "api" else _ROLE
        )
        for name, opens in opening.items()
    }
    for index, grant in enumerate(document.grants):
        if grant.role in opening:
            found[msgspec.json.encode(grant)] = PolicyError(
                ("grants", index, "role"), _API_GRANT if opening[grant.role] == "api" else _GRANT
            )
    return found
