from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

STAYS_REVOKED = "A revoked token stays revoked until it has expired; give out a new one instead."


class StateVersion(models.Model):
    """Counts the changes of one kind of state ("policy", "trust"); every worker watches the two rows."""

    name = models.CharField(max_length=20, primary_key=True)
    value = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name} {self.value}"


class SigningKey(models.Model):
    """A key pair of the gateway. All that are not retired verify, and one of them signs: see state/signing_keys.py."""

    class Purpose(models.TextChoices):
        TOKENS = "tokens"  # access tokens and session cookies, verified by the gateway
        ASSERTIONS = "assertions"  # X-Auth-Assertion, for upstreams; its own key, so neither passes as the other

    class Algorithm(models.TextChoices):
        RS256 = "RS256", "RS256"
        ES256 = "ES256", "ES256"

    kid = models.CharField(max_length=64, unique=True, editable=False)
    purpose = models.CharField(max_length=20, choices=Purpose.choices, default=Purpose.TOKENS)
    algorithm = models.CharField(max_length=10, choices=Algorithm.choices, default=Algorithm.RS256)
    public_jwk = models.JSONField(editable=False)
    private_key = models.TextField(editable=False)  # PKCS#8 PEM, sealed with a key derived from AUTHGATE_SECRET_KEY
    created_at = models.DateTimeField(auto_now_add=True)
    signs_from = models.DateTimeField(default=timezone.now, help_text="Published at once, it signs from then on.")
    # Known once it is seen to sign no more, which is a little after the truth.
    stopped_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_expires_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Of the access tokens that it has signed."
    )
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-signs_from", "-pk"]

    def save(self, **options: Any) -> None:
        """Raises ValidationError: what a retired key has signed stays refused."""
        retired = SigningKey.objects.filter(pk=self.pk).exclude(retired_at=None).first() if self.pk else None
        if retired and self.retired_at is None:
            raise ValidationError("A retired key stays retired: make a new one.")
        super().save(**options)

    def __str__(self) -> str:
        return f"{self.algorithm} {self.kid}"


class RevokedToken(models.Model):
    """A token refused before its time. Rows past `expires_at` mean nothing and may be deleted."""

    jti = models.CharField("token ID (jti)", max_length=200, unique=True)
    expires_at = models.DateTimeField(help_text="When the token would have expired by itself.")
    reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]

    def save(self, **options: Any) -> None:
        """Raises ValidationError: a revocation is neither moved to another token nor shortened."""
        before = RevokedToken.objects.filter(pk=self.pk).first() if self.pk else None
        if before and (before.jti != self.jti or before.expires_at > self.expires_at):
            raise ValidationError(STAYS_REVOKED)
        super().save(**options)

    def __str__(self) -> str:
        return self.jti


class Revocation(models.Model):
    """What a subject or an issuer was given before a moment is refused. Rows past `expires_at` mean nothing."""

    issuer = models.CharField(max_length=40, blank=True, help_text="Its slug; empty: all issuers.")
    subject = models.CharField(
        max_length=200, blank=True, help_text="As the log has it (sub); empty: everybody of this issuer."
    )
    issued_before = models.DateTimeField(editable=False)
    expires_at = models.DateTimeField(editable=False)  # what was issued before has expired by then
    reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "revoked subject or issuer"
        verbose_name_plural = "revoked subjects and issuers"
        constraints = [
            models.UniqueConstraint(fields=["issuer", "subject"], name="authgate_one_revocation_each"),
            models.CheckConstraint(condition=~models.Q(issuer="", subject=""), name="authgate_revocation_of_somebody"),
        ]

    def save(self, **options: Any) -> None:
        """Raises ValidationError: a revocation is only ever extended."""
        before = Revocation.objects.filter(pk=self.pk).first() if self.pk else None
        if before and (
            (before.issuer, before.subject) != (self.issuer, self.subject)
            or before.issued_before > self.issued_before
            or before.expires_at > self.expires_at
        ):
            raise ValidationError(STAYS_REVOKED)
        super().save(**options)

    def __str__(self) -> str:
        return self.subject or f"issuer {self.issuer}"


class MintedToken(models.Model):
    """An access token of the gateway's own, so that it can be found and revoked. The token itself is kept nowhere."""

    jti = models.CharField("token ID (jti)", max_length=200, unique=True)
    subject = models.CharField(max_length=200)
    roles = models.JSONField(default=list)
    audience = models.CharField(max_length=400)
    kid = models.CharField("signing key", max_length=64)
    minted_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    minted_by = models.CharField(max_length=200)

    class Meta:
        ordering = ["-minted_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.subject} ({self.jti})"
