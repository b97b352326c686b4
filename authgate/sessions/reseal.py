"""Whatever AUTHGATE_SECRET_KEY_FALLBACK has sealed, sealed with AUTHGATE_SECRET_KEY."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.conf import settings
from django.db import models

from authgate.authn.keys import KeyUnusable, is_sealed_with, seal, unseal
from authgate.models import versions
from authgate.models.issuers import TokenIssuer
from authgate.models.people import IdentityProvider, Session
from authgate.models.trust import SigningKey
from authgate.oidc.event_endpoint import SEALED_FOR as POLL_TOKEN
from authgate.policy.powers import Actor
from authgate.policy.turns import turn_of
from authgate.sealing import SealBroken, is_sealed_anew, opening_secrets, seal_text, unseal_text
from authgate.state.issuers import SEALED_FOR

_AT_ONCE = 500


class Sealed(NamedTuple):
    """A column whose texts are sealed, each for the place that another column names."""

    model: type[models.Model]
    column: str
    purpose: str
    place: str
    noun: str


# Signing keys have a seal of their own.
COLUMNS = (
    Sealed(IdentityProvider, "sealed_client_secret", "client secret", "slug", "client secret"),
    Sealed(TokenIssuer, "sealed_client_secret", SEALED_FOR, "slug", "issuer's client secret"),
    Sealed(IdentityProvider, "sealed_poll_token", POLL_TOKEN, "slug", "event poll token"),
    Sealed(TokenIssuer, "sealed_poll_token", POLL_TOKEN, "slug", "event poll token"),
    Sealed(Session, "sealed_id_token", "id token", "sid", "ID token"),
    Sealed(Session, "sealed_refresh_token", "refresh token", "sid", "refresh token"),
)


class Resealed(NamedTuple):
    """By noun, in the singular: how many are sealed anew now, and how many no secret opens."""

    done: dict[str, int]
    broken: dict[str, int]


def reseal(actor: Actor) -> Resealed:
    """Raises PermissionDenied."""
    with turn_of(actor, "superuser"):
        found = Resealed({}, {})
        for noun, anew in _all_old():
            counts = found.done if anew() else found.broken
            counts[noun] = counts.get(noun, 0) + 1
        # The rows that workers share hold the seals of the keys.
        versions.bump("trust")
    return found


def count_old() -> int:
    """How many seals the secret key of today does not open."""
    return sum(1 for _ in _all_old())


def _all_old() -> Iterator[tuple[str, Callable[[], bool]]]:
    for key in SigningKey.objects.filter(retired_at=None):
        if not is_sealed_with(settings.SECRET_KEY, key.private_key, key.kid, key.purpose):
            yield "signing key", lambda key=key: _reseal_key(key)  # type: ignore[misc]
    for sealed in COLUMNS:
        rows = sealed.model._default_manager.exclude(**{sealed.column: ""})
        for pk, place, text in rows.values_list("pk", sealed.place, sealed.column).iterator(_AT_ONCE):
            if not is_sealed_anew(text, purpose=sealed.purpose, place=place):
                yield sealed.noun, lambda args=(sealed, pk, place, text): _reseal_text(*args)  # type: ignore[misc]


def _reseal_key(key: SigningKey) -> bool:
    try:
        pair = unseal(key.private_key, key.kid, key.purpose, key.algorithm, opening_secrets())
    except KeyUnusable:
        return False
    sealed = seal(pair, key.purpose, settings.SECRET_KEY)
    SigningKey.objects.filter(pk=key.pk).update(private_key=sealed)
    return True


def _reseal_text(sealed: Sealed, pk: Any, place: str, text: str) -> bool:
    try:
        clear = unseal_text(text, purpose=sealed.purpose, place=place)
    except SealBroken:
        return False
    # Unless it was replaced meanwhile: that one is sealed anew already.
    row = sealed.model._default_manager.filter(**{"pk": pk, sealed.column: text})
    row.update(**{sealed.column: seal_text(clear, purpose=sealed.purpose, place=place)})
    return True
