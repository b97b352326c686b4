"""Restoring: the schema of the backup's time is made, filled, and migrated to today's, apart from what is there. Then
one step puts it in place: all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.apps import apps as current_apps
from django.core.exceptions import FieldDoesNotExist
from django.core.management import call_command
from django.core.management.color import no_style
from django.core.serializers.base import DeserializationError
from django.core.serializers.python import Deserializer
from django.db import IntegrityError, connection, models, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from authgate import generation
from authgate.authn.keys import KeyUnusable
from authgate.backup.archive import Archive, BackupUnusable
from authgate.backup.taken_away import Former, count_on, read_former, refuse_again, refuse_everything
from authgate.backup.taking import LEFT_OUT
from authgate.state.trust import unseal_keys

Report = Callable[[str], None]
Apart = Callable[[Callable[[], None], Callable[[], Former | None], Callable[[Former | None], None]], None]
_STEP = 20_000  # rows
_UNFIT = (DeserializationError, FieldDoesNotExist, IntegrityError, KeyError, TypeError, ValueError)


def check(archive: Archive) -> None:
    """Raises BackupUnusable: this version does not know the database that the backup was taken of."""
    known = MigrationLoader(None).disk_migrations
    for app, name in archive.head.migrations.items():
        if (app, name) not in known:
            raise BackupUnusable(
                f"the backup was made by a newer version of the gateway, with the migration {app}.{name}: install that"
            )


def restore(archive: Archive, apart: Apart, report: Report, *, keep: bool) -> None:
    """`apart`: replaces the present database by the one that is made here when all went well.
    `keep`: tokens stay valid even if nobody knows what was revoked since.

    Raises BackupUnusable or DatabaseError; then nothing has changed.
    """
    check(archive)
    lines: list[str] = []

    def fill() -> None:
        _fill(archive, report)
        try:
            unseal_keys()
        except KeyUnusable as error:
            raise BackupUnusable(f"the backup belongs to another AUTHGATE_SECRET_KEY: {error}") from error

    def finish(former: Former | None) -> None:
        if former is not None and former.goes_on_from_the_backup():
            lines.extend(refuse_again(former))
        elif not keep:
            lines.extend(refuse_everything())
        count_on(former)

    # Filling takes minutes in which the gateway runs, and what is revoked meanwhile counts.
    apart(fill, read_former, finish)
    for kind in generation.KINDS:
        generation.advance(kind)
    for line in lines:
        report(line)


def _fill(archive: Archive, report: Report) -> None:
    _set_constraints("IMMEDIATE")
    for app, name in archive.head.migrations.items():
        call_command("migrate", app, name, verbosity=0)
    executor = MigrationExecutor(connection)
    targets = list(archive.head.migrations.items())
    historical = executor.loader.project_state(targets).apps
    with transaction.atomic():
        _set_constraints("DEFERRED")
        _empty(historical)
        _load(archive, historical, report)
        _check_references()
    call_command("migrate", verbosity=0)


def _empty(historical: Any) -> None:
    """Of what migrations and their signals have made."""
    for model in historical.get_models():
        if model._meta.label_lower not in ("contenttypes.contenttype", "auth.permission"):
            model._base_manager.all().delete()


def _load(archive: Archive, historical: Any, report: Report) -> None:
    total = archive.counts.total()
    rows = _Rows(archive.rows(), handle_forward_references=False)
    rows.historical = historical
    try:
        for number, row in enumerate(rows, 1):
            row.save(force_insert=True)
            if not number % _STEP:
                report(f"{number:,} of {total:,} rows")
    except _UNFIT as error:
        raise BackupUnusable(f"the backup does not fit its own schema: {' '.join(str(error).split())}") from error
    if sql := connection.ops.sequence_reset_sql(no_style(), list(historical.get_models())):
        with connection.cursor() as cursor:
            cursor.execute("".join(sql))


class _Rows(Deserializer):
    """Of the models as they were when the backup was made."""

    historical: Any = current_apps

    def _get_model_from_node(self, model_identifier: str) -> type[models.Model]:
        try:
            found: type[models.Model] = self.historical.get_model(model_identifier)
        except LookupError:
            raise DeserializationError(f"unknown model {model_identifier!r}") from None
        if found._meta.label_lower in LEFT_OUT:
            raise DeserializationError(f"a backup has no rows of {model_identifier!r}")
        return found


def _check_references() -> None:
    """Now, rather than at the commit."""
    try:
        connection.check_constraints()
        _set_constraints("IMMEDIATE")
    except IntegrityError as error:
        raise BackupUnusable(f"the backup refers to rows that it lacks: {' '.join(str(error).split())}") from error


def _set_constraints(when: str) -> None:
    """PostgreSQL alters no table while a reference still has to be checked; SQLite checks at the commit."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET CONSTRAINTS ALL {when}")
