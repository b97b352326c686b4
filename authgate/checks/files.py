"""Checks of who else may read the gateway's secrets, or put other files in their place."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

Apps = Sequence[AppConfig] | None


@register(Tags.security)
def check_static_site(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    site: Path | None = settings.AUTHGATE_STATIC_SITE
    if site is None:
        return
    for name, path in (
        ("AUTHGATE_DATA_DIR", settings.AUTHGATE_DATA_DIR),
        ("the database", sqlite_file()),
        *secret_files(),
    ):
        if path is not None and path.resolve().is_relative_to(site.resolve()):
            yield Error(
                f"AUTHGATE_STATIC_SITE {str(site)!r} publishes {name}: {str(path)!r} lies in it.",
                hint="Serve a directory that holds only what everyone may read.",
                id="authgate.E003",
            )


@register(Tags.security)
def check_data_dir(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    data, database = settings.AUTHGATE_DATA_DIR, sqlite_file()
    for path, mode in ((data, "700"), (data / "secret_key", "600"), (database, "600")):
        if path is not None and path.exists() and path.stat().st_mode & 0o077:
            yield Warning(
                f"{str(path)!r} is open to other users of this machine; it guards every signing key.",
                hint=f"chmod {mode} {path}",
                id="authgate.W003",
            )


@register(Tags.security)
def check_secret_files(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    """Those that NAME_FILE names. A group may read them, as secrets are handed to the user of a service."""
    for name, path in secret_files():
        if path.exists() and path.stat().st_mode & 0o027:
            yield Warning(
                f"{name}: {str(path)!r} is open to other users of this machine.",
                hint=f"chmod 600 {path}",
                id="authgate.W009",
            )


@register(Tags.security)
def check_directories(app_configs: Apps, **kwargs: Any) -> Iterator[CheckMessage]:
    """Whoever may write to a directory may rename what is in it, and put something of their own there."""
    guarded = (settings.AUTHGATE_DATA_DIR, sqlite_file(), *(path for _, path in secret_files()))
    above = {parent for path in guarded if path is not None for parent in path.resolve().parents}
    for directory in sorted(above - {settings.AUTHGATE_DATA_DIR.resolve()}):
        if _lets_others_replace(directory):
            yield Warning(
                f"Other users of this machine may write to {str(directory)!r}, and so replace what the gateway keeps "
                "below it.",
                hint=f"chmod o-w {directory}, or keep the gateway's files elsewhere.",
                id="authgate.W010",
            )


def secret_files() -> list[tuple[str, Path]]:
    """By the setting that names them."""
    secrets = [(f"{name}_FILE", path) for name, path in settings.AUTHGATE_SECRET_FILES.items()]
    return secrets + [("AUTHGATE_SIGNING_KEY_FILE", path) for path in settings.AUTHGATE_SIGNING_KEY_FILE]


def sqlite_file() -> Path | None:
    database = settings.DATABASES["default"]
    return Path(database["NAME"]) if database["ENGINE"].endswith("sqlite3") else None


def _lets_others_replace(directory: Path) -> bool:
    try:
        mode = directory.stat().st_mode
    except OSError:
        return False
    # With the sticky bit, as on /tmp, only the owner of a file may move it.
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX
