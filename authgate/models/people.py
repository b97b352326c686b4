"""Who signs in, where, and for how long. Trust: takes effect at once and is never rolled back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction

from authgate.models.policy import RoleGrant
from authgate.models.polling import Polled
from authgate.models.provider_rules import (
    OAUTH2,
    WELL_KNOWN,
    find_changed_addresses,
    find_changed_subjects,
    find_problems,
)
from authgate.models.slugs import slug_problem

DAY = 24 * 3600


def default_scopes() -> list[str]:
    return ["openid", "email", "profile"]


class IdentityProvider(Polled):
    """An OpenID Connect provider, or a plain OAuth 2.0 one with a way to ask who somebody is."""

    class Kind(models.TextChoices):
        OIDC = "oidc", "OpenID Connect"
        GITHUB = "github", "GitHub (OAuth 2.0)"
        OAUTH2 = OAUTH2, "OAuth 2.0 with a userinfo endpoint"

    class Logout(models.TextChoices):
        LOCAL = "local", "here only"
        PROVIDER = "provider", "here and at the provider, where it supports that"

    class Callbacks(models.TextChoices):
        PUBLIC = "public", "one, of the public URL; sign-in on any other host goes by way of it"
        EACH = "each", "one for each host, on which sign-in then stays"

    slug = models.SlugField(max_length=40, unique=True, help_text="Part of the redirect URI; cannot change later.")
    name = models.CharField("display name", max_length=80, help_text="On the sign-in button.")
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.OIDC)
    issuer = models.URLField(
        "issuer URL",
        max_length=400,
        blank=True,
        help_text="Must match exactly, including any trailing slash. If there is no issuer, enter the discovery URL.",
    )
    authorization_endpoint = models.URLField(max_length=400, blank=True, help_text="Empty: from discovery.")
    token_endpoint = models.URLField(max_length=400, blank=True, help_text="Empty: from discovery.")
    userinfo_endpoint = models.URLField(max_length=400, blank=True, help_text="Empty: from discovery.")
    jwks_uri = models.URLField("JWKS URL", max_length=400, blank=True, help_text="Empty: from discovery.")
    end_session_endpoint = models.URLField(max_length=400, blank=True, help_text="Empty: from discovery.")
    client_id = models.CharField("client ID", max_length=400)
    sealed_client_secret = models.TextField(blank=True, editable=False)
    scopes = models.JSONField(default=default_scopes, blank=True)
    claim_mapping = models.JSONField(
        default=dict, blank=True, help_text='Where to find "email", "name" and "groups", when not under that name.'
    )
    allowed_domains = models.JSONField(
        "allowed e-mail domains", default=list, blank=True, help_text="Empty: everybody the provider lets in."
    )
    further_audiences = models.JSONField(
        default=list,
        blank=True,
        help_text="Other audiences that its ID tokens may name beside the client ID, such as a project's ID. "
        "Usually none.",
    )
    # Providers from before the choice may have redirect URIs for other hosts alone, and those that a former version
    # adds in a rolling upgrade need one for each: hence the database's default.
    callbacks = models.CharField(
        "redirect URIs", max_length=10, choices=Callbacks, default=Callbacks.PUBLIC, db_default=Callbacks.EACH
    )
    require_verified_email = models.BooleanField("only with a verified e-mail address", default=True)
    logout = models.CharField("sign-out ends the session", max_length=10, choices=Logout, default=Logout.PROVIDER)
    ca_certificates = models.TextField(
        "CA certificates", blank=True, help_text="PEM; empty: those the system trusts. For providers with their own CA."
    )
    session_idle = models.PositiveIntegerField(
        "idle limit in seconds", default=8 * 3600, validators=[MinValueValidator(60), MaxValueValidator(365 * DAY)]
    )
    session_lifetime = models.PositiveIntegerField(
        "longest session in seconds", default=7 * DAY, validators=[MinValueValidator(60), MaxValueValidator(365 * DAY)]
    )
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name", "slug"]

    @property
    def has_id_token(self) -> bool:
        return self.kind == self.Kind.OIDC

    def clean(self) -> None:
        super().clean()
        self.issuer = self.issuer.removesuffix(WELL_KNOWN)
        taken = None if self.pk else slug_problem(self.slug, "IdentityProvider")
        _refuse([*find_problems(self), *self._find_changes(), *([("slug", taken)] if taken else [])])

    def save(self, **options: Any) -> None:
        """Raises ValidationError: people who are known by a provider do not become other people."""
        with transaction.atomic():
            _refuse(self._find_changes())
            super().save(**options)

    def _find_changes(self) -> list[tuple[str, str]]:
        with transaction.atomic():
            # Locked as a sign-in does: a first one either waits for this change, or is seen here.
            before = IdentityProvider.objects.select_for_update().filter(pk=self.pk).first() if self.pk else None
            if before is None or not before.people.exists():
                return []
            found = list(find_changed_subjects(before, self))
            if RoleGrant.objects.filter(claim="email", provider__in=("", before.slug)).exists():
                found += find_changed_addresses(before, self)
            return found

    def __str__(self) -> str:
        return self.name or self.slug


def _refuse(problems: Iterable[tuple[str, str]]) -> None:
    errors: dict[str, list[str]] = {}
    for field, problem in problems:
        errors.setdefault(field, []).append(problem)
    if errors:
        raise ValidationError(errors)


class Person(models.Model):
    """Somebody who has signed in. Known by provider and subject together: two providers may use one subject."""

    provider = models.ForeignKey(IdentityProvider, on_delete=models.CASCADE, related_name="people")
    provider_subject = models.CharField("subject at the provider", max_length=255)
    email = models.CharField("e-mail", max_length=320, blank=True)
    # The database has the default as well: in a rolling upgrade the former version adds rows without it.
    email_verified = models.BooleanField(
        "e-mail is verified", default=False, db_default=False, editable=False, help_text="The provider vouched for it."
    )
    name = models.CharField(max_length=255, blank=True)
    is_active = models.BooleanField(
        "active", default=True, help_text="If off, all sessions end and no new ones can be started."
    )
    created_at = models.DateTimeField("first seen", auto_now_add=True)
    # What the provider said last, in this or another browser; bounded. For what outlives sessions: personal tokens.
    # Null: nothing yet, as in a row that a former version adds in a rolling upgrade.
    claims = models.JSONField(null=True, editable=False)
    last_login_at = models.DateTimeField("last sign-in", null=True, blank=True)

    class Meta:
        ordering = ["email", "provider_subject"]
        verbose_name_plural = "people"
        constraints = [models.UniqueConstraint(fields=["provider", "provider_subject"], name="one_person_per_subject")]

    @property
    def subject(self) -> str:
        """The subject of their sessions, and what services receive. A slug has no "|", so no two people share one."""
        return f"{self.provider.slug}|{self.provider_subject}"

    def __str__(self) -> str:
        return self.email or self.subject


class Session(models.Model):
    """One signed-in browser. Its cookie lives for minutes; this row says whether there will be a next one."""

    sid = models.CharField("session ID", max_length=64, primary_key=True)
    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="sessions")
    created_at = models.DateTimeField()
    last_seen_at = models.DateTimeField("last seen")
    expires_at = models.DateTimeField(help_text="The absolute limit; the idle limit may end it sooner.")
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=40, blank=True)
    # The database has the default as well: in a rolling upgrade the former version adds rows without a host.
    host = models.CharField(max_length=262, blank=True, default="", db_default="", help_text="Where it was made.")
    address = models.CharField(max_length=64, blank=True)
    user_agent = models.CharField(max_length=400, blank=True)
    # A digest of the cookie that bound its sign-in to the browser; empty in rows of former versions.
    browser = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)
    provider_sid = models.CharField("session at the provider", max_length=255, blank=True, db_index=True)
    claims = models.JSONField(default=dict)
    sealed_id_token = models.TextField(blank=True, editable=False)
    sealed_refresh_token = models.TextField(blank=True, editable=False)
    refresh_at = models.DateTimeField(null=True, blank=True)  # when to ask the provider again
    refresh_lock_until = models.DateTimeField(null=True, blank=True)  # somebody is asking now

    class Meta:
        ordering = ["-last_seen_at"]
        indexes = [models.Index(fields=["expires_at"])]

    @property
    def ends_at(self) -> datetime:
        """Sooner than at sign-in was said, where the provider's longest session is shorter by now."""
        return min(self.expires_at, self.created_at + timedelta(seconds=self.person.provider.session_lifetime))

    def __str__(self) -> str:
        return f"{self.person} since {self.created_at:%Y-%m-%d %H:%M}"


class UsedOnce(models.Model):
    """What counts only once: states of logins, logout tokens. Rows past `expires_at` mean nothing."""

    key = models.CharField(max_length=200, primary_key=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.key


class HandOver(models.Model):
    """A code that takes a session from the public host to the one on which the sign-in began: once, within a minute."""

    digest = models.CharField(max_length=64, primary_key=True)  # of the code, which is nowhere kept
    sid = models.CharField(max_length=64)
    departure = models.CharField(max_length=64)  # digest of the one departure that it answers
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.digest
