"""An empty database beside the one that is there, which it replaces at the end in one step."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from django.db import connection, transaction

from gateway_site.database import file_of, make_file

_PATIENCE = 30.0  # seconds to wait for writers


@contextmanager
def apart() -> Iterator[None]:
    """For the block, the connection leads there. An exception leaves everything as it was."""
    file = file_of(connection.settings_dict)
    with _emptied() if file is None else _beside(file):
        yield


@contextmanager
def _emptied() -> Iterator[None]:
    """Of a server: others see the former tables until the commit."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            for table in connection.introspection.table_names(cursor):
                cursor.execute(f"DROP TABLE {connection.ops.quote_name(table)} CASCADE")
        yield


@contextmanager
def _beside(file: Path) -> Iterator[None]:
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    connection.close()
    connection.settings_dict["NAME"] = str(draft)
    try:
        make_file(connection.settings_dict)
        yield
        connection.close()
        _replace(draft, file)
    finally:
        connection.close()
        connection.settings_dict["NAME"] = str(file)
        _remove(draft)


def _replace(draft: Path, file: Path) -> None:
    """Through SQLite where it can open the file: processes that have it open then see the new content, and none writes
    into a file that is no longer there. A file that is damaged is put aside; nobody can be using it.
    """
    with closing(sqlite3.connect(draft)) as source:
        try:
            with closing(sqlite3.connect(file, timeout=_PATIENCE)) as target:
                target.execute("PRAGMA schema_version")
                source.backup(target)
            return
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                raise
        source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with suppress(FileNotFoundError):
        os.replace(file, file.with_name(f"{file.name}.damaged"))
    _remove(file)
    os.replace(draft, file)


def _remove(file: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
