"""Rows that mean nothing any more, removed now and then by whoever signs in or comes back, and every hour."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from datetime import timedelta

from django.db import Error as DatabaseProblem
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from authgate.models import versions
from authgate.models.people import HandOver, Session, UsedOnce
from authgate.models.polling import EventPoll
from authgate.models.service_tokens import ServiceToken
from authgate.models.trust import MintedToken, Revocation, RevokedToken
from authgate.observe.strangers import NOBODY
from authgate.sessions import store
from authgate.sessions.unneeded_keys import retire_unneeded
from authgate.state import service_tokens, token_rows
from authgate.threads import Threads, TooBusy

logger = logging.getLogger(__name__)

KEPT_FOR = timedelta(days=30)  # who was signed in, from where: for whoever looks into an incident
# Whoever was refused is refused again when a clock that was ahead is set back.
_KEPT_PAST_END = timedelta(days=1)
_EVERY_SECONDS = 3600.0
_MOST_TOLD = 20

_next_at = 0.0


def purge_sometimes() -> None:
    """Whoever came for something else goes on also when it fails."""
    global _next_at
    if time.monotonic() < _next_at:
        return
    _next_at = time.monotonic() + _EVERY_SECONDS
    try:
        purge()
        tell_what_expires()
    except DatabaseProblem as error:
        logger.warning("rows that mean nothing any more stay for another hour: %s", error, extra=NOBODY)


async def purge_hourly(threads: Threads) -> None:
    """For a gateway where nobody signs in or comes back."""
    while True:
        await asyncio.sleep(_EVERY_SECONDS * random.uniform(0.9, 1.1))  # noqa: S311  (not all workers at once)
        with suppress(TooBusy):
            await threads.run(purge_sometimes)


def tell_what_expires() -> None:
    """Of service tokens, once a day, whichever worker comes first."""
    now = timezone.now()
    _, is_first = UsedOnce.objects.get_or_create(
        key=f"expiring service tokens {now:%Y-%m-%d}", defaults={"expires_at": now + timedelta(days=1)}
    )
    for token in service_tokens.expiring(now)[:_MOST_TOLD] if is_first else ():
        logger.warning(
            "the service token %r of %s expires on %s", token.name, token.owner or "nobody", token.expires_at.date(),
            extra=NOBODY,
        )  # fmt: skip


def purge() -> None:
    now = timezone.now()
    with transaction.atomic():
        versions.lock("trust")  # as whoever ends sessions does: two that end the same ones wait for each other here
        store.end_timed_out(now)
        Session.objects.filter(ended_at__lt=now - KEPT_FOR).delete()
        over = Q(ended_at__lt=now - token_rows.KEPT_FOR) | Q(expires_at__lt=now - token_rows.KEPT_FOR)
        ServiceToken.objects.filter(over).delete()
        UsedOnce.objects.filter(expires_at__lt=now - _KEPT_PAST_END).delete()
        HandOver.objects.filter(expires_at__lt=now - _KEPT_PAST_END).delete()
        EventPoll.objects.filter(next_at__lt=now - _KEPT_PAST_END).delete()  # of whom nobody asks any more
        MintedToken.objects.filter(expires_at__lt=now - _KEPT_PAST_END).delete()
        retire_unneeded(now)
        # Not through the ORM, whose signals would make every worker load its trust again for each row.
        tables = [connection.ops.quote_name(model._meta.db_table) for model in (RevokedToken, Revocation)]
        before = connection.ops.adapt_datetimefield_value(now - _KEPT_PAST_END)
        with connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"DELETE FROM {table} WHERE expires_at < %s", [before])  # noqa: S608
