"""Tokens refused before their time, until they would have expired by themselves."""

from __future__ import annotations

from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.db.models.signals import pre_delete
from django.dispatch import receiver
from django.utils import timezone

from authgate.authn.claims import LEEWAY
from authgate.authn.tokens import MAX_TTL
from authgate.models.trust import STAYS_REVOKED, RevokedToken
from authgate.policy.powers import Actor
from authgate.policy.turns import turn_of


def revoke(jti: str, reason: str, actor: Actor) -> RevokedToken:
    """Raises ValidationError or PermissionDenied."""
    with turn_of(actor, "staff"):
        # Only the ID is known here. A date before the token's own expiry would make the token valid again.
        longest = timezone.now() + timedelta(seconds=MAX_TTL)
        token = RevokedToken(jti=jti, reason=reason, expires_at=longest)
        token.full_clean()
        token.save()
    return token


def in_force() -> QuerySet[RevokedToken]:
    # Kept a little past expiry: the clocks of two machines differ.
    return RevokedToken.objects.filter(expires_at__gt=timezone.now() - timedelta(seconds=LEEWAY))


@receiver(pre_delete, sender=RevokedToken)
def keep_revoked(instance: RevokedToken, **_: object) -> None:
    """Whoever deletes, and whatever they delete it with: the token would be good again. Raises ValidationError."""
    if in_force().filter(pk=instance.pk).exists():
        raise ValidationError(STAYS_REVOKED)
