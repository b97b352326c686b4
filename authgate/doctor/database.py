from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from authgate.doctor.finding import Finding, error, ok, warning
from authgate.doctor.registry import Subject, register
from authgate.oidc.signed import LEEWAY
from authgate.sessions.live import count
from authgate.state.trouble import trouble_of

SLOW_SECONDS = 0.05
_TIMES = 5


@register(Subject.DATABASE)
def examine_database() -> Iterator[Finding]:
    try:
        connection.ensure_connection()
        yield ok("connection", f"{connection.display_name} {_version()}")
        yield _latency()
        if connection.vendor == "postgresql":
            yield _clock()
        yield from _migrations()
    except DatabaseError as problem:
        yield error("connection", trouble_of(problem).full, _remedy())


def _remedy() -> str:
    if connection.vendor == "sqlite":
        return "Put the file back or correct its owner; AUTHGATE_DATA_DIR and AUTHGATE_DATABASE_URL say where it is."
    return "See that the server runs and lets this user in, and correct AUTHGATE_DATABASE_URL."


def _version() -> str:
    return ".".join(map(str, connection.get_database_version()))


def _latency() -> Finding:
    took = median(_ask("SELECT 1")[1] for _ in range(_TIMES))
    text = f"{took * 1000:.1f} ms for a query"
    if took > SLOW_SECONDS:
        return warning("latency", text, "Sign-ins and /admin/ wait for it: bring the database nearer, or see its load.")
    return ok("latency", text)


def _clock() -> Finding:
    """Machines that share a database end sessions by their own clocks."""
    now, took = _ask("SELECT clock_timestamp()")
    ahead = (now - timezone.now()).total_seconds() + took / 2
    text = f"the database's clock is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}"
    if abs(ahead) > LEEWAY:
        return warning("clock", text, "Set the clocks of both machines by NTP.")
    return ok("clock", text)


def _ask(question: str) -> tuple[Any, float]:
    """The answer, and the seconds that it took."""
    begun = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute(question)
        (answer,) = cursor.fetchone()
    return answer, time.perf_counter() - begun


def _migrations() -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    unknown = sorted(set(executor.loader.applied_migrations) - set(executor.loader.disk_migrations))
    if pending:
        text = f"{count(len(pending), 'migration is', 'migrations are')} missing; serve does not start"
        yield error("migrations", text, "manage.py migrate")
    elif unknown:
        names = ", ".join(f"{app}.{name}" for app, name in unknown[:3])
        text = f"the database is of a newer version than this code: {names}"
        yield warning("migrations", text, "Run the newer version again, or restore a backup of this one's database.")
    else:
        yield ok("migrations", "all are there")
