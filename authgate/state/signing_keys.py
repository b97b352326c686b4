"""Signing keys, made and retired. What a retired key has signed is refused from then on, and for good."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from functools import reduce

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from authgate.authn.keys import generate_key_pair, seal
from authgate.models import versions
from authgate.models.people import Session
from authgate.models.trust import SigningKey
from authgate.policy.powers import Actor
from authgate.policy.turns import turn_of
from authgate.threads import quietly

Purpose, Algorithm = SigningKey.Purpose, SigningKey.Algorithm
FOR_GOOD = "A retired key stays retired, and what it has signed stays refused."
# Clients of other makers verify RS256 everywhere. An assertion is signed for every new token, and ES256 signs
# ten times faster than RS256.
_FIRST = {Purpose.TOKENS: Algorithm.RS256, Purpose.ASSERTIONS: Algorithm.ES256}


def create(purpose: SigningKey.Purpose, algorithm: SigningKey.Algorithm, actor: Actor) -> SigningKey:
    """From the next reload on it signs for its purpose; older keys verify until retired. Raises PermissionDenied."""
    with turn_of(actor, "staff"):
        return _create(purpose, algorithm)


def retire(keys: Iterable[SigningKey], actor: Actor) -> int:
    """How many were not retired before. Raises PermissionDenied."""
    with turn_of(actor, "staff"):
        current = SigningKey.objects.select_for_update().filter(pk__in=[key.pk for key in keys], retired_at=None)
        retiring = list(current)
        for key in retiring:
            key.retired_at = timezone.now()
            key.save(update_fields=["retired_at"])
    return len(retiring)


def find_current(purpose: SigningKey.Purpose) -> list[SigningKey]:
    """The newest first."""
    return list(SigningKey.objects.filter(purpose=purpose, retired_at=None).order_by("-created_at", "-pk"))


def find_or_create(purpose: SigningKey.Purpose) -> list[SigningKey]:
    """The current keys; a purpose without any gets one, which is nobody's change."""
    return find_current(purpose) or _create_first(purpose)


def sessions_signed_by(keys: Iterable[SigningKey]) -> QuerySet[Session]:
    """Those whose cookie one of these has signed: a cookie is made when its session is seen."""
    tokens = [key for key in keys if key.purpose == Purpose.TOKENS]
    return Session.objects.filter(reduce(operator.or_, map(_signing_times, tokens), Q(pk__in=())))


def _create_first(purpose: SigningKey.Purpose) -> list[SigningKey]:
    with transaction.atomic():
        # Workers and machines start at the same time. The counter's row is the lock: the first one makes the
        # key, the others wait here and then find it.
        versions.lock("trust")
        return find_current(purpose) or [_create(purpose, _FIRST[purpose])]


def _create(purpose: SigningKey.Purpose, algorithm: SigningKey.Algorithm) -> SigningKey:
    pair = quietly(generate_key_pair, algorithm)
    return SigningKey.objects.create(
        kid=pair.kid,
        purpose=purpose,
        algorithm=algorithm,
        public_jwk=pair.public_jwk,
        private_key=seal(pair, purpose, settings.SECRET_KEY),
    )


def _signing_times(key: SigningKey) -> Q:
    """From its making on, but for the times of newer ones."""
    newer = SigningKey.objects.filter(purpose=key.purpose, created_at__gt=key.created_at)
    signing = Q(last_seen_at__gte=key.created_at)
    for other in newer:
        others = Q(last_seen_at__gte=other.created_at)
        signing &= ~(others & Q(last_seen_at__lt=other.retired_at) if other.retired_at else others)
    return signing
