"""The end of signing keys: what they have signed is refused from then on, and for good."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from functools import reduce

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from authgate.models.people import Session
from authgate.models.trust import SigningKey

FOR_GOOD = "A retired key stays retired, and what it has signed stays refused."


def retire(keys: Iterable[SigningKey]) -> int:
    """How many were not retired before."""
    with transaction.atomic():
        current = SigningKey.objects.select_for_update().filter(pk__in=[key.pk for key in keys], retired_at=None)
        retiring = list(current)
        for key in retiring:
            key.retired_at = timezone.now()
            key.save(update_fields=["retired_at"])
    return len(retiring)


def sessions_signed_by(keys: Iterable[SigningKey]) -> QuerySet[Session]:
    """Those whose cookie one of these has signed: a cookie is made when its session is seen."""
    tokens = [key for key in keys if key.purpose == SigningKey.Purpose.TOKENS]
    return Session.objects.filter(reduce(operator.or_, map(_signing_times, tokens), Q(pk__in=())))


def _signing_times(key: SigningKey) -> Q:
    """From its making on, but for the times of newer ones."""
    newer = SigningKey.objects.filter(purpose=key.purpose, created_at__gt=key.created_at)
    signing = Q(last_seen_at__gte=key.created_at)
    for other in newer:
        others = Q(last_seen_at__gte=other.created_at)
        signing &= ~(others & Q(last_seen_at__lt=other.retired_at) if other.retired_at else others)
    return signing
