"""What this process trusts: its keys, and which tokens are revoked. Loaded whole, swapped whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

import msgspec
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models.signals import post_delete, post_save, pre_delete
from django.dispatch import receiver
from django.utils import timezone

from authgate.authn.claims import LEEWAY
from authgate.authn.keys import KeyPair, generate_key_pair, seal, unseal
from authgate.authn.trust import TrustSnapshot
from authgate.models import versions
from authgate.models.people import IdentityProvider
from authgate.models.trust import STAYS_REVOKED, RevokedToken, SigningKey
from authgate.threads import quietly

Purpose = SigningKey.Purpose
# Clients of other makers verify RS256 everywhere. An assertion is signed for every new token, and ES256 signs
# ten times faster than RS256.
_ALGORITHMS = {Purpose.TOKENS: SigningKey.Algorithm.RS256, Purpose.ASSERTIONS: SigningKey.Algorithm.ES256}


class KeyRow(msgspec.Struct, frozen=True):
    kid: str
    purpose: str
    algorithm: str
    sealed: str


class TrustRows(msgspec.Struct, frozen=True):
    """As the database holds it; of each purpose the newest key first."""

    token_keys: list[KeyRow]
    assertion_keys: list[KeyRow]
    revoked: list[str]
    has_providers: bool


def load_trust() -> TrustSnapshot:
    """Makes the keys that are missing. Raises KeyUnusable or DatabaseError; then there is nothing to trust."""
    return build_trust(read_trust())


def read_trust() -> TrustRows:
    """Makes the keys that are missing. Raises DatabaseError."""
    return TrustRows(
        token_keys=_load_keys(Purpose.TOKENS),
        assertion_keys=_load_keys(Purpose.ASSERTIONS),
        revoked=_load_revoked(),
        has_providers=IdentityProvider.objects.filter(enabled=True).exists(),
    )


def build_trust(rows: TrustRows) -> TrustSnapshot:
    """Raises KeyUnusable."""
    token_keys, assertion_keys = _unseal_all(rows.token_keys), _unseal_all(rows.assertion_keys)
    return TrustSnapshot(
        issuer=settings.AUTHGATE_PUBLIC_URL,
        audience=settings.AUTHGATE_PUBLIC_URL,
        session_cookie=settings.AUTHGATE_SESSION_COOKIE.encode("ascii"),
        token_keys=token_keys,
        assertion_keys=assertion_keys,
        token_signer=next(iter(token_keys.values())),
        assertion_signer=next(iter(assertion_keys.values())),
        revoked=frozenset(rows.revoked),
        jwks=_build_jwks([*token_keys.values(), *assertion_keys.values()]),
        has_providers=rows.has_providers,
    )


def unseal_keys() -> None:
    """Whether the keys that are in use can be: makes none. Raises KeyUnusable or DatabaseError."""
    for purpose in Purpose:
        _unseal_all([_key_row(row) for row in _rows(purpose)])


def create_signing_key(purpose: SigningKey.Purpose, algorithm: SigningKey.Algorithm) -> SigningKey:
    """From the next reload on it signs for its purpose; the keys before it go on verifying until retired."""
    pair = quietly(generate_key_pair, algorithm)
    with transaction.atomic():
        return SigningKey.objects.create(
            kid=pair.kid,
            purpose=purpose,
            algorithm=algorithm,
            public_jwk=pair.public_jwk,
            private_key=seal(pair, purpose, settings.SECRET_KEY),
        )


@receiver([post_save, post_delete], sender=SigningKey)
@receiver([post_save, post_delete], sender=RevokedToken)
@receiver([post_save, post_delete], sender=IdentityProvider)
def announce_change(**_: object) -> None:
    """Whoever changes such a row, every worker reloads: in the same transaction when there is one, as in admin."""
    versions.bump("trust")


@receiver(pre_delete, sender=RevokedToken)
def keep_revoked(instance: RevokedToken, **_: object) -> None:
    """Whoever deletes, and whatever they delete it with: the token would be good again. Raises ValidationError."""
    live = timezone.now() - timedelta(seconds=LEEWAY)
    if RevokedToken.objects.filter(pk=instance.pk, expires_at__gt=live).exists():
        raise ValidationError(STAYS_REVOKED)


def _load_keys(purpose: SigningKey.Purpose) -> list[KeyRow]:
    rows = _rows(purpose) or _create_first(purpose)
    return [_key_row(row) for row in rows]


def _key_row(row: SigningKey) -> KeyRow:
    return KeyRow(row.kid, row.purpose, row.algorithm, row.private_key)


def _unseal_all(rows: list[KeyRow]) -> Mapping[str, KeyPair]:
    source = settings.AUTHGATE_SECRET_KEY_SOURCE
    pairs = (unseal(row.sealed, row.kid, row.purpose, row.algorithm, settings.SECRET_KEY, source) for row in rows)
    return MappingProxyType({pair.kid: pair for pair in pairs})


def _rows(purpose: SigningKey.Purpose) -> list[SigningKey]:
    return list(SigningKey.objects.filter(purpose=purpose, retired_at=None).order_by("-created_at", "-pk"))


def _create_first(purpose: SigningKey.Purpose) -> list[SigningKey]:
    with transaction.atomic():
        # Workers and machines start at the same time. The counter's row is the lock: the first one makes the
        # key, the others wait here and then find it.
        versions.lock("trust")
        return _rows(purpose) or [create_signing_key(purpose, _ALGORITHMS[purpose])]


def _load_revoked() -> list[str]:
    # Kept a little past expiry: the clocks of two machines differ.
    live = timezone.now() - timedelta(seconds=LEEWAY)
    return list(RevokedToken.objects.filter(expires_at__gt=live).values_list("jti", flat=True))


def _build_jwks(pairs: list[KeyPair]) -> bytes:
    return json.dumps({"keys": [pair.public_jwk for pair in pairs]}, separators=(",", ":")).encode("ascii")
