"""SQLite as Django has it, except that a file that is not there, or cannot be written, is an error.

SQLite itself would make an empty one: a gateway that has lost its database would look like a new one, to people and to
every command. Only `migrate` makes one (`gateway_site.database.make_file`). One that cannot be written it would open
for reading, and as long as that connection is open none of this process can write, even if the disk can again.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from django.db.backends.sqlite3 import base, client, features
from django.utils.functional import cached_property


class DatabaseFeatures(features.DatabaseFeatures):
    @cached_property
    def supports_json_field(self) -> bool:  # type: ignore[override]  # as there, whatever the stubs say
        """Of this SQLite. Django asks the gateway's file, which is locked or away at times."""
        with closing(sqlite3.connect(":memory:")) as memory:
            try:
                memory.execute("SELECT json('{}')")
            except sqlite3.OperationalError:
                return False
        return True


class DatabaseClient(client.DatabaseClient):
    def runshell(self, parameters: Iterable[str]) -> None:
        self.connection.ensure_connection()  # its shell would make the file
        super().runshell(parameters)


class DatabaseWrapper(base.DatabaseWrapper):
    features_class = DatabaseFeatures
    client_class = DatabaseClient

    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()
        name = str(params["database"])
        if not name.startswith("file:"):  # as tests name one in memory
            _check_writable(name)
            params["database"] = f"{Path(name).absolute().as_uri()}?mode=rw"
        return params


def _check_writable(name: str) -> None:
    for path in (name, f"{name}-wal", f"{name}-shm"):
        if os.path.exists(path) and not os.access(path, os.W_OK):
            raise sqlite3.OperationalError(f"unable to open database file: {path!r} is read-only")
