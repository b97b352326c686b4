"""Identity providers, from the first save to their removal: the sessions that rest on one end with it."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.exceptions import ValidationError

from authgate.models.people import IdentityProvider, Person
from authgate.models.service_tokens import ServiceToken
from authgate.oidc.provider import seal_client_secret
from authgate.policy.powers import Actor
from authgate.policy.schema import AdminAccess
from authgate.policy.turns import turn_of
from authgate.sessions import store
from authgate.sessions.deletion import find_objections
from authgate.state import service_tokens

# Whoever may point a provider at another place decides who anybody is, superusers included.
NEEDED_ACCESS: AdminAccess = "superuser"


def save(provider: IdentityProvider, actor: Actor) -> int:
    """How many sessions it ended: all of them, if it is disabled. Raises ValidationError or PermissionDenied."""
    with turn_of(actor, NEEDED_ACCESS):
        provider.full_clean()
        provider.save()
        if provider.enabled:
            return 0
        service_tokens.end_these(ServiceToken.objects.filter(person__provider=provider), "provider disabled")
        return store.end_where("provider disabled", person__provider=provider)


def find_secret_problem(provider: IdentityProvider, secret: str, *, is_public: bool) -> str | None:
    """What is wrong with this new client secret of a provider; an empty one leaves the one that is stored."""
    if secret and is_public:
        return "A public client has none: leave this empty, or clear “public client”."
    if not (secret or is_public or provider.sealed_client_secret):
        return "Enter the secret, or tick “public client” if the provider gave you none."
    return None


def take_secret(provider: IdentityProvider, secret: str, *, is_public: bool) -> None:
    """Sets it on the instance alone. Raises ValidationError."""
    if problem := find_secret_problem(provider, secret, is_public=is_public):
        raise ValidationError({"client_secret": problem})
    if is_public:
        provider.sealed_client_secret = ""
    elif secret:
        provider.sealed_client_secret = seal_client_secret(provider, secret)


def remove(providers: Iterable[IdentityProvider], actor: Actor) -> int:
    """How many sessions it ended. Raises PermissionDenied, or ValidationError while somebody of them is kept out."""
    # Asked once for all of them: the actor may have signed in at the first.
    with turn_of(actor, NEEDED_ACCESS):
        return sum(_remove(provider) for provider in providers)


def _remove(provider: IdentityProvider) -> int:
    # In the order of those who sign in: the provider, its people, their sessions.
    if not IdentityProvider.objects.select_for_update().filter(pk=provider.pk).exists():
        return 0  # somebody else was faster
    people = Person.objects.select_for_update(of=("self",)).select_related("provider").filter(provider=provider)
    if objections := find_objections(people.order_by("pk")):
        raise ValidationError(objections)
    ended = store.end_where("provider removed", person__provider=provider)
    provider.delete()
    return ended
