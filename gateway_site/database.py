from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from gateway_site.env import EnvError, text


def from_url(name: str, default_file: Path, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Django's settings for `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST:PORT/NAME?sslmode=…`.

    The URL may hold a password, so errors never repeat it.
    """
    url = text(name, f"sqlite:///{default_file}", environ)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise EnvError(name, "is not a valid URL") from error
    if parts.scheme == "sqlite":
        return _sqlite(name, unquote(parts.path[1:]))
    if parts.scheme in ("postgres", "postgresql"):
        database = unquote(parts.path[1:])
        if not database:
            raise EnvError(name, "names no database: postgresql://USER:PASSWORD@HOST:PORT/NAME")
        options = dict(parse_qsl(parts.query))
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": database,
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": options.pop("host", None) or parts.hostname or "",
            "PORT": str(port or ""),
            "OPTIONS": {"connect_timeout": "5", **options},
            "CONN_HEALTH_CHECKS": True,
        }
    raise EnvError(name, "must begin with sqlite:/// or postgresql://")


def _sqlite(name: str, path: str) -> dict[str, Any]:
    if not path:
        raise EnvError(name, "names no file: sqlite:////absolute/path or sqlite:///relative/path")
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            # Readers never wait for the writer; a writer takes its lock at once instead of failing half-way.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,
        },
    }
