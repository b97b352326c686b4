"""What the demo leaves in a database, and its removal: everybody knows how to get in by it."""

from __future__ import annotations

from pathlib import Path

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet

from authgate.models.people import IdentityProvider, Person
from authgate.models.policy import PolicyRevision
from authgate.models.trust import StateVersion
from authgate.policy import revisions
from authgate.policy.document import PolicyDocument
from authgate.policy.powers import Machine
from authgate.sessions import registration
from authgate.sessions.activation import activate
from authgate.wire.authority import leads_to_loopback

AUTHOR, COMMENT = "demo", "Demo policy"
PROVIDER, CLIENT_ID = "demo", "authgate"
ADMIN, ADMIN_EMAIL = "admin", "admin@localhost"
FILES = ("demo-provider.json", "demo-provider-keys.json")
# A row beside the counters of states: 1 while the demo's data are in this database, 0 after their removal.
_MARK = "demo"
# Another: the number of the account that the demo made. Somebody's own may have the same name and address.
_ACCOUNT = "demo-account"
_REMOVED = "Demo removed"


def mark() -> None:
    StateVersion.objects.update_or_create(name=_MARK, defaults={"value": 1})


def note_account(account: User) -> None:
    StateVersion.objects.update_or_create(name=_ACCOUNT, defaults={"value": account.pk})


def is_marked() -> bool:
    """Whether a demo ran on this database, also one of a version that set no mark. Raises DatabaseError."""
    value = StateVersion.objects.filter(name=_MARK).values_list("value", flat=True).first()
    return bool(value) if value is not None else _looks_like_a_demo()


def is_a_gateway_of_others() -> bool:
    """Whether this database is in use, and no demo's. Raises DatabaseError."""
    in_use = PolicyRevision.objects.exists() or IdentityProvider.objects.exists() or User.objects.exists()
    return in_use and not is_marked()


def leftovers() -> list[str]:
    """The accounts and people by which somebody gets in who knows the demo. Raises DatabaseError."""
    people = Person.objects.filter(provider__in=_providers(), is_active=True).select_related("provider")
    return [
        *(f"the account {user.get_username()}" for user in _accounts().filter(is_active=True).order_by("pk")),
        *(f"the person {person.subject}" for person in people.order_by("pk")),
    ]


def remove(data_dir: Path) -> list[str]:
    """What was removed, in words. The secret key, signing keys and every other account and provider stay."""
    with transaction.atomic():
        removed = _remove_accounts() + _remove_provider() + _remove_policy()
        StateVersion.objects.update_or_create(name=_MARK, defaults={"value": 0})
    for name in FILES:
        (data_dir / name).unlink(missing_ok=True)
    return removed


def kept() -> list[str]:
    """After `remove`: what may still be the demo's, and what to do about it."""
    began = PolicyRevision.objects.filter(number=1, author=AUTHOR, comment=COMMENT).exists()
    removed = PolicyRevision.objects.filter(author=AUTHOR, comment=_REMOVED).exists()
    latest = revisions.latest()
    if not began or removed or latest is None:
        return []
    return [
        f"the policy, revision {latest.number}: it was changed since the demo, and may still lead to the demo's "
        "service. See it with `manage.py policy show`; import another one, or delete the demo's routes in /admin/"
    ]


def _looks_like_a_demo() -> bool:
    published = PolicyRevision.objects.filter(number=1, author=AUTHOR, comment=COMMENT).exists()
    return published or bool(_providers())


def _providers() -> list[IdentityProvider]:
    """None or one; not somebody's own provider of that name."""
    found = IdentityProvider.objects.filter(slug=PROVIDER, client_id=CLIENT_ID)
    return [provider for provider in found if leads_to_loopback(provider.issuer)]


def _accounts() -> QuerySet[User]:
    wanted = _of_the_demo()
    if _providers() or not IdentityProvider.objects.filter(slug=PROVIDER).exists():
        wanted |= Q(username__startswith=f"sso:{PROVIDER}|")
    return User.objects.filter(wanted)


def _of_the_demo() -> Q:
    """Demos of earlier versions have not noted which account was theirs."""
    noted = StateVersion.objects.filter(name=_ACCOUNT).values_list("value", flat=True).first()
    if noted is not None:
        return Q(pk=noted, username=ADMIN)
    return Q(username=ADMIN, email=ADMIN_EMAIL)


def _remove_accounts() -> list[str]:
    accounts = _accounts()
    removed = [f"the account {name}" for name in accounts.values_list("username", flat=True).order_by("pk")]
    # Kept out or not: with their provider goes the only way to sign in as them.
    accounts.update(is_active=True)
    accounts.delete()
    StateVersion.objects.filter(name=_ACCOUNT).update(value=0)
    return removed


def _remove_provider() -> list[str]:
    removed = []
    for provider in _providers():
        for person in provider.people.all():
            activate(person, Machine(AUTHOR))
        registration.remove([provider], Machine(AUTHOR))
        removed.append(f"the identity provider {provider.slug}, with its people and their sessions")
    return removed


def _remove_policy() -> list[str]:
    latest = revisions.latest()
    if latest is None or (latest.author, latest.comment) != (AUTHOR, COMMENT):
        return []
    revisions.replace(PolicyDocument(), Machine(AUTHOR), _REMOVED, allow_empty=True)
    return ["the demo policy; without another one everything is denied"]
