"""Transmitters of security events that are asked for them (RFC 8936)."""

from __future__ import annotations

from django.db import models


class Polled(models.Model):
    """Whoever may transmit security events. Where no endpoint is given, they are pushed, or there are none."""

    # The database has the defaults as well: in a rolling upgrade the former version adds rows without them.
    poll_endpoint = models.CharField(
        "event polling endpoint",
        max_length=400,
        blank=True,
        default="",
        db_default="",
        help_text="Where its security events are fetched (RFC 8936). Empty: it pushes them, or has none.",
    )
    sealed_poll_token = models.TextField(blank=True, editable=False, default="", db_default="")

    class Meta:
        abstract = True

    def clean(self) -> None:
        super().clean()
        if not self.poll_endpoint:
            self.sealed_poll_token = ""


class EventPoll(models.Model):
    """When a transmitter is asked next, and how it went. Until `next_at` whoever has set it is asking, or pauses."""

    slug = models.CharField(max_length=40, primary_key=True)
    next_at = models.DateTimeField()
    failures = models.PositiveIntegerField(default=0)  # since it last went well
    problem = models.CharField(max_length=400, blank=True)

    def __str__(self) -> str:
        return self.slug
