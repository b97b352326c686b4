"""The two counters every worker watches: a change of state and its bump commit together or not at all."""

from __future__ import annotations

from functools import partial
from typing import Literal

from django.db import connection, transaction
from django.db.models import F

from authgate import generation
from authgate.models.trust import StateVersion

StateName = Literal["policy", "trust"]

_SERVICE_TOKENS = "service_tokens"  # counts a part of the trust, which need not be read again for the rest
CHANNEL = "authgate_state"  # of PostgreSQL's NOTIFY, for the workers of other machines


def lock(name: StateName) -> None:
    """Wait for whoever is changing this state, until the end of the caller's transaction."""
    # An UPDATE takes the row's lock on every database; SELECT … FOR UPDATE does nothing on SQLite.
    if not StateVersion.objects.filter(name=name).update(value=F("value")):
        StateVersion.objects.get_or_create(name=name)
        StateVersion.objects.filter(name=name).update(value=F("value"))


def bump(name: StateName) -> None:
    """Make every worker reload this state. Belongs into the transaction that changes it. Once the change is answered,
    no worker of this machine decides a request by the old state.
    """
    with transaction.atomic():
        lock(name)
        StateVersion.objects.filter(name=name).update(value=F("value") + 1)
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"NOTIFY {CHANNEL}")  # delivered when the transaction commits
        transaction.on_commit(partial(generation.advance, name))


def bump_service_tokens() -> None:
    """The same for a change of service tokens, or of what they rest on."""
    with transaction.atomic():
        bump("trust")
        counter = StateVersion.objects.filter(name=_SERVICE_TOKENS)
        if not counter.update(value=F("value") + 1):
            StateVersion.objects.create(name=_SERVICE_TOKENS, value=1)


def service_tokens_version() -> int:
    return StateVersion.objects.filter(name=_SERVICE_TOKENS).values_list("value", flat=True).first() or 0
