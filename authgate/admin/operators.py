"""Who has access to /admin/: local accounts by themselves, people by the roles that their sign-in gives them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.contrib.auth.models import User

from authgate.models.people import Person, Session
from authgate.models.policy import RoleGrant
from authgate.policy import revisions
from authgate.policy.compiler import check
from authgate.policy.errors import PolicyInvalid
from authgate.policy.powers import OPENS_ADMIN, highest_access
from authgate.policy.rules import GrantRules
from authgate.policy.schema import PolicyDocument
from authgate.sessions.sso_accounts import PREFIX, deactivated_names, username_of

MOST_PEOPLE = 1000  # those who signed in last


class Operator(NamedTuple):
    name: str
    access: str
    by: str


def local_operators() -> list[Operator]:
    accounts = User.objects.filter(is_active=True, is_staff=True).exclude(username__startswith=PREFIX)
    return [
        Operator(account.username, "superuser" if account.is_superuser else "staff", "local account")
        for account in accounts.order_by("username")
    ]


def operators_by_role() -> list[Operator]:
    """By the live policy, and by what the provider said at the last sign-in or refresh."""
    try:
        policy = revisions.live_powers()
    except PolicyInvalid:
        return []
    opening = {name for name, role in policy.roles.items() if role.admin in OPENS_ADMIN}
    if not any(grant.role in opening for grant in policy.grants):
        return []
    return list(_by_role(policy, opening))


def opening_grants() -> list[RoleGrant]:
    return list(RoleGrant.objects.filter(role__admin__in=OPENS_ADMIN).select_related("role"))


def _by_role(policy: PolicyDocument, opening: set[str]) -> Iterator[Operator]:
    rules, kept_out = GrantRules(policy.grants, check(policy)), deactivated_names()
    active = Person.objects.filter(is_active=True, provider__enabled=True).select_related("provider")
    for person in active.order_by("-last_login_at")[:MOST_PEOPLE]:
        if username_of(person.subject) in kept_out:
            continue
        roles = rules.roles_of(_claims(person), person.provider.slug)
        access = highest_access(policy, roles)
        if access != "none":
            named = ", ".join(sorted(roles & opening))
            name = f"{person.email} ({person.subject})" if person.email else person.subject
            yield Operator(name, access, f"role {named}")


def _claims(person: Person) -> dict[str, Any]:
    last = Session.objects.filter(person=person).order_by("-last_seen_at").values_list("claims", flat=True).first()
    return {"email": person.email, "name": person.name, **(last or {})}
