"""A backup is taken of one moment, while the gateway runs: nobody waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO

from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.core import serializers
from django.db import connection, models, transaction
from django.db.migrations.recorder import MigrationRecorder

from authgate.backup.archive import FORMAT, Head, Writer

# Made by `migrate`, or worth nothing after a restore: it ends all sessions.
LEFT_OUT = frozenset(
    ("contenttypes.contenttype", "auth.permission", "sessions.session", "authgate.session", "authgate.handover")
)
_AT_ONCE = 500


def take(file: IO[bytes]) -> int:
    """How many rows it has. Raises DatabaseError, or OSError of the file."""
    with _one_moment():
        head = Head(FORMAT, datetime.now(UTC).isoformat(timespec="seconds"), _migrations())
        writer = Writer(file, head)
        for model in saved_models():
            rows = model._base_manager.order_by("pk").iterator(chunk_size=_AT_ONCE)
            serializers.serialize("jsonl", rows, stream=writer, use_natural_foreign_keys=True)
        return writer.finish()


def saved_models() -> list[type[models.Model]]:
    """Those that others refer to by name come first."""
    found = serializers.sort_dependencies([(app, None) for app in apps.get_app_configs()])
    return [model for model in found if model._meta.label_lower not in LEFT_OUT and model._meta.managed]


def _migrations() -> dict[str, str]:
    """The newest of each application that this database has."""
    return dict(sorted(MigrationRecorder(connection).applied_migrations()))


@contextmanager
def _one_moment() -> Iterator[None]:
    """All reads see the database as it was at the first of them. Writers go on meanwhile."""
    if connection.vendor == "postgresql":
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
        return
    # Not Django's: as this project sets SQLite up, its transactions take the writer's lock.
    with connection.cursor() as cursor:
        cursor.execute("BEGIN DEFERRED")
        try:
            ContentType.objects.exists()
            yield
        finally:
            cursor.execute("ROLLBACK")
