"""Signing keys, made and retired. What a retired key has signed is refused from then on, and for good.

Of each purpose, the key signs whose `signs_from` is the latest that has passed. A key that waits for it is published
already, so that services know it before they meet what it has signed.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import reduce
from typing import Any, Protocol, TypeVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from authgate.authn.keys import generate_key_pair, seal
from authgate.models import versions
from authgate.models.people import Session
from authgate.models.trust import SigningKey
from authgate.policy.powers import Actor
from authgate.policy.turns import turn_of
from authgate.state.key_files import file_keys
from authgate.threads import quietly

Purpose, Algorithm = SigningKey.Purpose, SigningKey.Algorithm
FOR_GOOD = "A retired key stays retired, and what it has signed stays refused."
# Services keep the key set for minutes, careless ones for an hour.
LEAD = timedelta(hours=1)
# Clients of other makers verify RS256 everywhere. An assertion is signed for every new token, and ES256 signs
# ten times faster than RS256.
_FIRST = {Purpose.TOKENS: Algorithm.RS256, Purpose.ASSERTIONS: Algorithm.ES256}


class Timed(Protocol):
    @property
    def signs_from(self) -> Any: ...


Key = TypeVar("Key", bound=Timed)


def signer_of(keys: Sequence[Key], now: Any) -> Key | None:
    """Of all keys of one purpose. Where none may sign yet, the one that would be the first. None: there are none."""
    ready = [key for key in keys if key.signs_from <= now]
    if ready:
        return max(ready, key=lambda key: key.signs_from)
    return min(keys, key=lambda key: key.signs_from, default=None)


def create(
    purpose: SigningKey.Purpose, algorithm: SigningKey.Algorithm, actor: Actor, *, lead: timedelta = timedelta()
) -> SigningKey:
    """Published at once, it signs after `lead`; older keys verify until retired. Raises PermissionDenied, or
    ValidationError where files hold the keys of this purpose.
    """
    with turn_of(actor, "staff"):
        _refuse_beside_files(purpose)
        _sign_on(purpose)
        return _create(purpose, algorithm, timezone.now() + lead)


def rotate(purpose: SigningKey.Purpose, actor: Actor, *, lead: timedelta = LEAD) -> SigningKey:
    """The next key, of the algorithm that signs now. Raises PermissionDenied or ValidationError.

    Without `lead`, a next key that is published already signs at once.
    """
    with turn_of(actor, "staff"):
        _refuse_beside_files(purpose)
        now, keys = timezone.now(), find_current(purpose)
        _sign_on(purpose)
        waiting = [key for key in keys if key.signs_from > now]
        if not waiting:
            signer = signer_of(keys, now)
            algorithm = Algorithm(signer.algorithm) if signer else _FIRST[purpose]
            return _create(purpose, algorithm, now + lead)
        if lead:
            raise ValidationError(
                f"the next key of {purpose.value}, {waiting[0].kid}, is published already and signs from "
                f"{waiting[0].signs_from:%Y-%m-%dT%H:%M:%SZ}"
            )
        waiting[0].signs_from = now
        waiting[0].save(update_fields=["signs_from"])
        return waiting[0]


def retire(keys: Iterable[SigningKey], actor: Actor) -> int:
    """How many were not retired before. Raises PermissionDenied."""
    with turn_of(actor, "staff"):
        current = SigningKey.objects.select_for_update().filter(pk__in=[key.pk for key in keys], retired_at=None)
        retiring = list(current)
        for key in retiring:
            key.retired_at = timezone.now()
            key.save(update_fields=["retired_at"])
        for purpose in {Purpose(key.purpose) for key in retiring}:
            _sign_on(purpose)
    return len(retiring)


def find_current(purpose: SigningKey.Purpose) -> list[SigningKey]:
    """The newest first."""
    return list(SigningKey.objects.filter(purpose=purpose, retired_at=None).order_by("-signs_from", "-pk"))


def still_verifies(kid: str) -> bool:
    """Whether tokens that this key has signed are taken, by the rows and files as they are now."""
    in_files_now = any(pair.kid == kid for pair in file_keys())
    return in_files_now or SigningKey.objects.filter(kid=kid, purpose=Purpose.TOKENS, retired_at=None).exists()


def find_or_create(purpose: SigningKey.Purpose) -> list[SigningKey]:
    """The current keys; a purpose without any gets one, which is nobody's change. Files are as good as a key."""
    return find_current(purpose) or ([] if in_files(purpose) else _create_first(purpose))


def in_files(purpose: SigningKey.Purpose) -> bool:
    """Whether this purpose signs with files that an operator keeps."""
    return purpose == Purpose.TOKENS and bool(settings.AUTHGATE_SIGNING_KEY_FILE)


def sessions_signed_by(keys: Iterable[SigningKey]) -> QuerySet[Session]:
    """Those whose cookie one of these has signed: a cookie is made when its session is seen."""
    tokens = [key for key in keys if key.purpose == Purpose.TOKENS]
    return Session.objects.filter(reduce(operator.or_, map(_signing_times, tokens), Q(pk__in=())))


def _refuse_beside_files(purpose: SigningKey.Purpose) -> None:
    if in_files(purpose):
        raise ValidationError(
            "AUTHGATE_SIGNING_KEY_FILE has the keys of tokens: name a new file there, after the one that signs; when "
            "services know its key, put it first"
        )


def _sign_on(purpose: SigningKey.Purpose) -> None:
    """Whichever key signs now has not stopped, and need not wait any more."""
    now = timezone.now()
    signer = signer_of(find_current(purpose), now)
    if signer is not None and (signer.stopped_at is not None or signer.signs_from > now):
        signer.stopped_at, signer.signs_from = None, min(signer.signs_from, now)
        signer.save(update_fields=["stopped_at", "signs_from"])


def _create_first(purpose: SigningKey.Purpose) -> list[SigningKey]:
    with transaction.atomic():
        # Workers and machines start at the same time. The counter's row is the lock: the first one makes the
        # key, the others wait here and then find it.
        versions.lock("trust")
        return find_current(purpose) or [_create(purpose, _FIRST[purpose], timezone.now())]


def _create(purpose: SigningKey.Purpose, algorithm: SigningKey.Algorithm, signs_from: datetime) -> SigningKey:
    pair = quietly(generate_key_pair, algorithm)
    return SigningKey.objects.create(
        kid=pair.kid,
        purpose=purpose,
        algorithm=algorithm,
        public_jwk=pair.public_jwk,
        private_key=seal(pair, purpose, settings.SECRET_KEY),
        signs_from=signs_from,
    )


def _signing_times(key: SigningKey) -> Q:
    """From its first to its last, but for the times of newer ones."""
    newer = SigningKey.objects.filter(purpose=key.purpose, signs_from__gt=key.signs_from)
    signing = Q(last_seen_at__gte=key.signs_from)
    for other in newer:
        others = Q(last_seen_at__gte=other.signs_from)
        signing &= ~(others & Q(last_seen_at__lt=other.retired_at) if other.retired_at else others)
    return signing
