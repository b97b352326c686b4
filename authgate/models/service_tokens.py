"""Service tokens and personal tokens. Trust: takes effect at once and is never rolled back."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q, QuerySet

from authgate.models.people import Person
from authgate.wire.address import canonical_network

LONGEST_DAYS = 366  # no revocation ends before that
_SERVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_MOST_ENTRIES = 100
_LONGEST_NAME = 60


class ServiceToken(models.Model):
    """A token of a service, or of a `person`. What ends it stays in the row; it is never taken up again."""

    name = models.CharField(max_length=_LONGEST_NAME)
    person = models.ForeignKey(Person, null=True, blank=True, on_delete=models.CASCADE, related_name="tokens")
    owner = models.CharField(
        max_length=200, blank=True, help_text="Who is told before it expires: an e-mail address, or a team."
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)  # SHA-256 of the token, in hexadecimal
    roles = models.JSONField(default=list, blank=True)
    networks = models.JSONField(default=list, blank=True)
    routes = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=150, blank=True)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField("last used", null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=40, blank=True)

    class Meta:
        ordering = ["name", "-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["name"], condition=Q(person=None, ended_at=None), name="one_live_service_token_per_name"
            ),
            models.UniqueConstraint(
                fields=["person", "name"], condition=Q(ended_at=None), name="one_live_personal_token_per_name"
            ),
        ]

    @property
    def subject(self) -> str:
        return f"service|{self.name}" if self.person is None else self.person.subject

    @property
    def token_id(self) -> str:
        """As the log and revocations have it (jti)."""
        return f"svc:{self.pk}"

    def clean(self) -> None:
        errors: dict[str, list[str]] = {}
        for field, problem in self._find_problems():
            errors.setdefault(field, []).append(problem)
        if errors:
            raise ValidationError(errors)

    def _find_problems(self) -> Iterator[tuple[str, str]]:
        """Nothing of it is known to have the right form, or even type."""
        if not 0 < len(self.name) <= _LONGEST_NAME:
            pass  # said of every field
        elif self.person_id is None and not _SERVICE_NAME.fullmatch(self.name):
            yield "name", "must have 1 to 60 letters, digits, '.', '_' and '-', and begin with a letter or digit"
        elif not _TEXT.fullmatch(self.name) or self.name != self.name.strip():
            yield "name", "must have 1 to 60 characters, no control characters, and no space around it"
        if self.owner and (not _TEXT.fullmatch(self.owner) or self.owner != self.owner.strip()):
            yield "owner", "must have no control characters and no space around it"
        for field in ("roles", "routes", "networks"):
            value: object = getattr(self, field)
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                yield field, "must be a list of names"
            elif len(value) > _MOST_ENTRIES:
                yield field, f"must be at most {_MOST_ENTRIES}"
            elif field == "networks":
                yield from self._check_networks()

    def _check_networks(self) -> Iterator[tuple[str, str]]:
        for network in self.networks:
            try:
                canonical_network(ipaddress.ip_network(network))
            except ValueError as error:
                yield "networks", f"{network!r} is not an address or CIDR block: {error}"

    def __str__(self) -> str:
        return self.name if self.person is None else f"{self.name} of {self.person}"


def in_force(now: datetime) -> QuerySet[ServiceToken]:
    """As far as their own rows say."""
    return ServiceToken.objects.filter(ended_at=None, expires_at__gt=now)
