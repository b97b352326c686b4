"""An empty database beside the one that is there, which it replaces at the end in one step."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from django.db import connection, transaction

from gateway_site.database import file_of, make_file

_PATIENCE = 30.0  # seconds to wait for writers

_OWN = ("authgate_", "auth_", "django_")  # the names of tables

Seen = TypeVar("Seen")


def apart(fill: Callable[[], None], look: Callable[[], Seen], finish: Callable[[Seen | None], None]) -> None:
    """`fill` fills the empty database. When nobody can write into the present one any more, `look` reads that, and
    `finish` is told what it saw (None: it is damaged) and completes the other one, which then replaces it.

    For each of them the connection leads to the database that it is about. An exception leaves everything as it was.
    """
    file = file_of(connection.settings_dict)
    if file is None:
        _in_place(fill, look, finish)
    else:
        _beside(file, fill, look, finish)


def _in_place(fill: Callable[[], None], look: Callable[[], Seen], finish: Callable[[Seen | None], None]) -> None:
    """Of a server: others wait for the tables until the commit."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            tables = [connection.ops.quote_name(name) for name in _own_tables(cursor)]
            if tables:
                cursor.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
            seen = look()
            for table in tables:
                cursor.execute(f"DROP TABLE {table} CASCADE")
        fill()
        finish(seen)


def _own_tables(cursor: Any) -> list[str]:
    """Also of former versions. Others' in the same database are none of ours."""
    return [name for name in connection.introspection.table_names(cursor) if name.startswith(_OWN)]


def _beside(
    file: Path, fill: Callable[[], None], look: Callable[[], Seen], finish: Callable[[Seen | None], None]
) -> None:
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")

    def complete(*, is_damaged: bool = False) -> None:
        seen = None if is_damaged else _at(file, look)
        _at(draft, lambda: finish(seen))

    try:
        make_file({**connection.settings_dict, "NAME": str(draft)})
        _at(draft, fill)
        _replace(draft, file, complete)
    finally:
        _remove(draft)


def _at(file: Path, work: Callable[[], Seen]) -> Seen:
    """With a connection that leads to this file."""
    name = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = str(file)
    try:
        return work()
    finally:
        connection.close()
        connection.settings_dict["NAME"] = name


class Complete(Protocol):
    def __call__(self, *, is_damaged: bool = False) -> None: ...


def _replace(draft: Path, file: Path, complete: Complete) -> None:
    """Through SQLite where it can open the file: processes that have it open then see the new content, and none writes
    into a file that is no longer there. A file that is damaged is put aside; nobody can be using it.
    """
    is_complete = False

    def progress(status: int, *_: int) -> None:
        """From the first page on SQLite keeps writers out, and it begins again when the draft changes."""
        nonlocal is_complete
        if status == sqlite3.SQLITE_OK and not is_complete:
            is_complete = True
            complete()

    with closing(sqlite3.connect(draft)) as source:
        try:
            with closing(sqlite3.connect(file, timeout=_PATIENCE)) as target:
                # A new file is given it now: while it is being written, it can be read only with this.
                target.execute("PRAGMA journal_mode=WAL")
                source.backup(target, pages=1, progress=progress)
            return
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                raise
        if not is_complete:
            complete(is_damaged=True)
        source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with suppress(FileNotFoundError):
        os.replace(file, file.with_name(f"{file.name}.damaged"))
    _remove(file)
    os.replace(draft, file)


def _remove(file: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
