"""Issuers of bearer tokens. Trust: takes effect at once and is never rolled back."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import models

from authgate.models.issuer_rules import find_problems
from authgate.models.polling import Polled
from authgate.models.slugs import slug_problem

DAY = 24 * 3600


def default_algorithms() -> list[str]:
    return ["RS256", "ES256"]


class TokenIssuer(Polled):
    """An authorization server whose access tokens are taken as Bearer, beside the gateway's own."""

    class Strategy(models.TextChoices):
        JWT = "jwt", "verify: the tokens are JWTs"
        INTROSPECTION = "introspection", "ask: every token is introspected (RFC 7662)"
        AUTO = "auto", "verify JWTs, ask about opaque tokens"

    class Type(models.TextChoices):
        STRICT = "strict", "strict: only at+jwt (RFC 9068)"
        LENIENT = "lenient", "lenient: also tokens without this type"

    class Dpop(models.TextChoices):
        OFF = "off", "off: bearer tokens alone; those bound to a key are refused"
        OPTIONAL = "optional", "optional: a token that is bound to a key comes with a proof"
        REQUIRED = "required", "required: every token is bound to a key and comes with a proof"
        NONCE = "nonce", "required, with a nonce of the gateway's in each proof"

    class ClientAuthentication(models.TextChoices):
        BASIC = "basic", "client_secret_basic"
        POST = "post", "client_secret_post"
        PRIVATE_KEY_JWT = "private_key_jwt", "private_key_jwt, with the gateway's key"

    slug = models.SlugField(
        max_length=40,
        unique=True,
        help_text="Its name in routes (issuers: [ci]) and in front of each subject (ci|1234). Cannot change later.",
    )
    issuer = models.CharField(
        "issuer",
        max_length=400,
        unique=True,
        help_text="To the letter as in the tokens' iss, including any trailing slash.",
    )
    audiences = models.JSONField(help_text="A token must be for one of these (its aud).")
    strategy = models.CharField(max_length=20, choices=Strategy.choices, default=Strategy.JWT)
    algorithms = models.JSONField(default=default_algorithms, help_text="Of the signature. Only asymmetric ones.")
    jwks_url = models.CharField("JWKS URL", max_length=400, blank=True, help_text="Empty: from discovery.")
    pasted_keys = models.TextField(
        "pasted JWKS", blank=True, help_text='Instead of fetching them: a JSON object with "keys".'
    )
    typ = models.CharField("type", max_length=10, choices=Type.choices, default=Type.LENIENT)
    dpop = models.CharField(
        "DPoP",
        max_length=10,
        choices=Dpop.choices,
        default=Dpop.OFF,
        help_text="Proofs that the sender has the key of its token (RFC 9449).",
    )
    required_scopes = models.JSONField(default=list, blank=True, help_text="A token must have all of these.")
    required_claims = models.JSONField(
        default=dict, blank=True, help_text="A token must have these values, or lists with them."
    )
    claim_mapping = models.JSONField(
        default=dict,
        blank=True,
        help_text="Where sub, email, name, groups and roles are: roles = realm_access.roles.",
    )
    leeway = models.PositiveIntegerField(
        "leeway in seconds", default=5, validators=[MaxValueValidator(300)], help_text="That its clock may differ."
    )
    max_age = models.PositiveIntegerField(
        "longest age in seconds",
        default=0,
        validators=[MaxValueValidator(366 * DAY)],
        help_text="Since the token was issued (its iat). 0: until it expires.",
    )
    introspection_endpoint = models.CharField(max_length=400, blank=True, help_text="Empty: from discovery.")
    client_id = models.CharField("client ID", max_length=400, blank=True, help_text="With which the gateway asks.")
    sealed_client_secret = models.TextField(blank=True, editable=False)
    client_authentication = models.CharField(
        max_length=20, choices=ClientAuthentication.choices, default=ClientAuthentication.BASIC
    )
    introspection_seconds = models.PositiveIntegerField(
        "an answer holds for seconds",
        default=30,
        validators=[MaxValueValidator(3600)],
        help_text="A token that its issuer revokes goes on for so long. 0: every request asks.",
    )
    ca_certificates = models.TextField("CA certificates", blank=True, help_text="PEM; empty: those the system trusts.")
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["slug"]
        verbose_name = "token issuer"

    def clean(self) -> None:
        super().clean()
        errors: dict[str, list[str]] = {}
        for field, problem in find_problems(self):
            errors.setdefault(field, []).append(problem)
        if taken := slug_problem(self.slug, "TokenIssuer"):
            errors.setdefault("slug", []).append(taken)
        if errors:
            raise ValidationError(errors)

    def save(self, **options: Any) -> None:
        """Raises ValidationError: a subject of one issuer never becomes that of another."""
        before = TokenIssuer.objects.filter(pk=self.pk).first() if self.pk else None
        if before is not None and before.slug != self.slug:
            raise ValidationError({"slug": "cannot change: it names every caller of this issuer"})
        super().save(**options)

    def __str__(self) -> str:
        return self.slug
