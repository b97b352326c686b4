from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from gateway_site.env import ENVIRON, EnvError, text


def from_url(name: str, default_file: Path, environ: Mapping[str, str] = ENVIRON) -> dict[str, Any]:
    """Django's settings for `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST:PORT/NAME?sslmode=…`.

    The URL may hold a password, so errors never repeat it.
    """
    url = text(name, "", environ)
    if not url:
        return _sqlite(str(default_file))
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise EnvError(name, "is not a valid URL") from error
    if parts.fragment:
        raise EnvError(name, "contains '#': write it as %23")
    if parts.scheme == "sqlite":
        return _sqlite(_sqlite_file(name, parts))
    if parts.scheme in ("postgres", "postgresql"):
        return _postgresql(name, parts, port)
    raise EnvError(name, "must begin with sqlite:/// or postgresql://")


def make_file(database: Mapping[str, Any]) -> None:
    """Of SQLite, empty, unless there is one: for this user alone, as its "-wal" and "-shm" then are too."""
    if (file := file_of(database)) is not None:
        with suppress(OSError):  # connecting will say why
            os.close(os.open(file, os.O_RDONLY | os.O_CREAT, 0o600))


def file_of(database: Mapping[str, Any]) -> Path | None:
    """None for a server, and for one in memory, as tests have."""
    is_file = database["ENGINE"].endswith("sqlite3") and not str(database["NAME"]).startswith("file:")
    return Path(database["NAME"]) if is_file else None


def is_there(database: Mapping[str, Any]) -> bool:
    """Whether a command finds a database; of a server that is to be seen."""
    file = file_of(database)
    return file is None or file.exists()


def _sqlite_file(name: str, parts: SplitResult) -> str:
    path = unquote(parts.path[1:])
    if parts.netloc or parts.query or not path:
        raise EnvError(name, "must look like sqlite:////absolute/path or sqlite:///relative/path")
    if path == ":memory:":
        raise EnvError(name, "names a database in memory, which the gateway's processes cannot share")
    return path


def _sqlite(path: str) -> dict[str, Any]:
    return {
        "ENGINE": "gateway_site.sqlite3",
        "NAME": path,
        "OPTIONS": {
            # Readers never wait for the writer; a writer takes its lock at once instead of failing half-way.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,
        },
    }


def _postgresql(name: str, parts: SplitResult, port: int | None) -> dict[str, Any]:
    database = unquote(parts.path[1:])
    if not database:
        raise EnvError(name, "names no database: postgresql://USER:PASSWORD@HOST:PORT/NAME")
    options = dict(parse_qsl(parts.query))
    host = options.pop("host", None) or parts.hostname or ""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": str(port or ""),
        "OPTIONS": {"connect_timeout": "5", **_known(name, options)},
        "CONN_HEALTH_CHECKS": True,
    }


def _known(name: str, options: dict[str, str]) -> dict[str, str]:
    # Imported here: a gateway on SQLite starts without loading libpq.
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo

    for option, value in options.items():
        try:
            make_conninfo("", **{option: value})
        except ProgrammingError as error:
            raise EnvError(name, f"PostgreSQL has no connection option {option!r}") from error
    return options
