from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register
from django.db import DatabaseError

from authgate.checks.database import ROWS
from authgate.own_hosts import exposed_host
from gateway_site.demo import traces


@register(ROWS)
def check_demo(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    host = exposed_host()
    try:
        found = traces.leftovers() if databases and host is not None else []
    except DatabaseError:
        return []  # before the first migration
    if not found:
        return []
    return [
        Error(
            f"Others reach this gateway as {host}, and accounts of the demo can still sign in: {', '.join(found)}.",
            hint="Set AUTHGATE_DATA_DIR to a new directory, or run `manage.py demo --remove`.",
            id="authgate.E005",
        )
    ]
