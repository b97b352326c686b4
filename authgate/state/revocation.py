"""What is refused before its time, until it would have expired by itself: tokens, subjects and issuers."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.db.models.signals import pre_delete
from django.dispatch import receiver
from django.utils import timezone

from authgate.authn.claims import LEEWAY
from authgate.authn.revocations import Revocations, is_issued_before
from authgate.authn.tokens import MAX_TTL
from authgate.models.issuers import TokenIssuer
from authgate.models.service_tokens import ServiceToken
from authgate.models.trust import STAYS_REVOKED, Revocation, RevokedToken
from authgate.policy.powers import Actor
from authgate.policy.turns import turn_of
from authgate.request import OWN_ISSUER, Identity
from authgate.state.service_tokens import end_these

_LONGEST = timedelta(seconds=MAX_TTL)
_SERVICE_TOKEN = re.compile(r"svc:([0-9]{1,18})")  # as gate.service_tokens.token_id_of has it


def revoke(jti: str, reason: str, actor: Actor) -> RevokedToken:
    """Raises ValidationError or PermissionDenied."""
    with turn_of(actor, "staff"):
        return _revoke(jti, reason)


def revoke_all(jtis: Collection[str], reason: str, actor: Actor) -> int:
    """How many were not revoked before. Raises ValidationError or PermissionDenied."""
    with turn_of(actor, "staff"):
        revoked = set(RevokedToken.objects.filter(jti__in=list(jtis)).values_list("jti", flat=True))
        new = set(jtis) - revoked
        for jti in sorted(new):
            _revoke(jti, reason)
    return len(new)


def refuse_all_of(*, issuer: str = "", subject: str = "", reason: str) -> Revocation:
    """What was issued until now. For an operation that holds the actor's turn. Raises ValidationError."""
    row = Revocation.objects.filter(issuer=issuer, subject=subject).first()
    row = row or Revocation(issuer=issuer, subject=subject)
    row.reason = reason
    row.issued_before = max(_moment(issuer or subject.partition("|")[0]), row.issued_before or _moment(""))
    row.expires_at = row.issued_before + _LONGEST
    row.full_clean()
    row.save()
    end_these(_tokens_of(issuer, subject), "revoked")
    return row


def in_force() -> QuerySet[RevokedToken]:
    # Kept a little past expiry: the clocks of two machines differ.
    return RevokedToken.objects.filter(expires_at__gt=timezone.now() - timedelta(seconds=LEEWAY))


def all_in_force() -> QuerySet[Revocation]:
    """Of subjects and issuers."""
    return Revocation.objects.filter(expires_at__gt=timezone.now() - timedelta(seconds=LEEWAY))


def refuses(identity: Identity) -> bool:
    """By the rows as they are now, which may say more than the trust that the identity was proven by."""
    if in_force().filter(jti=identity.token_id).exists():
        return True
    rows = all_in_force().filter(issuer__in=("", identity.issuer_slug), subject__in=("", identity.subject))
    moments = {(row.issuer, row.subject): int(row.issued_before.timestamp()) for row in rows}
    return is_issued_before(identity, Revocations(moments))


def _revoke(jti: str, reason: str) -> RevokedToken:
    # Only the ID is known here. A date before the token's own expiry would make the token valid again.
    token = RevokedToken(jti=jti, reason=reason, expires_at=timezone.now() + _LONGEST)
    token.full_clean()
    token.save()
    if number := _SERVICE_TOKEN.fullmatch(jti):
        end_these(ServiceToken.objects.filter(pk=int(number[1])), "revoked")
    return token


def _tokens_of(issuer: str, subject: str) -> QuerySet[ServiceToken]:
    """Service tokens and personal ones. They are refused in any case; this is for whoever looks at their list."""
    if issuer not in ("", OWN_ISSUER):
        return ServiceToken.objects.none()
    if not subject:
        return ServiceToken.objects.all()
    slug, _, name = subject.partition("|")
    of_person = Q(person__provider__slug=slug, person__provider_subject=name)
    return ServiceToken.objects.filter(Q(person=None, name=name) if slug == "service" else of_person)


def _moment(slug: str) -> datetime:
    """Later than any `iat` of a token that is out, also by a clock that is ahead as far as its issuer's may be.

    `iat` has whole seconds: one of this very second may be from before.
    """
    leeway = TokenIssuer.objects.filter(slug=slug).values_list("leeway", flat=True).first() or 0
    return timezone.now().replace(microsecond=0) + timedelta(seconds=1 + max(leeway, LEEWAY))


@receiver(pre_delete, sender=RevokedToken)
def keep_revoked(instance: RevokedToken, **_: object) -> None:
    """Whoever deletes, and whatever they delete it with: the token would be good again. Raises ValidationError."""
    if in_force().filter(pk=instance.pk).exists():
        raise ValidationError(STAYS_REVOKED)


@receiver(pre_delete, sender=Revocation)
def keep_all_revoked(instance: Revocation, **_: object) -> None:
    """The same. Raises ValidationError."""
    if all_in_force().filter(pk=instance.pk).exists():
        raise ValidationError(STAYS_REVOKED)
