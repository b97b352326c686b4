"""What `manage.py check` says, each below its own subject."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.db import Error as DatabaseProblem
from django.db import connection

from authgate.doctor.finding import Finding, Level, ok
from authgate.doctor.registry import Subject, register

_OF_FILES = frozenset(f"authgate.{number}" for number in ("E003", "W003", "W009", "W010", "W070"))
_OF_KEYS = frozenset(f"authgate.{number}" for number in ("W073", "W075", "I076"))
_STOPPING = frozenset(("authgate.W073",))  # a warning for `check` alone, so that other commands can mend it
# The database says this itself.
_SAID_ELSEWHERE = frozenset(("authgate.W012", "authgate.I030"))


@register(Subject.CONFIGURATION)
def examine_configuration() -> Iterator[Finding]:
    yield ok("public URL", settings.AUTHGATE_PUBLIC_URL)
    yield ok("settings", f"from {settings.AUTHGATE_ENV_FILE or 'the environment alone'}")
    others = [message for message in _messages(with_rows=True) if message.id not in _OF_FILES | _OF_KEYS]
    yield from _findings(others)
    if not others:
        yield ok("checks", "manage.py check finds nothing")


def of_files() -> list[Finding]:
    return list(_findings(message for message in _messages(with_rows=False) if message.id in _OF_FILES))


def of_keys() -> list[Finding]:
    """Reads rows."""
    return list(_findings(message for message in _messages(with_rows=True) if message.id in _OF_KEYS))


def _messages(*, with_rows: bool) -> list[CheckMessage]:
    databases = ["default"] if with_rows and _is_there() else None
    found = checks.run_checks(databases=databases)
    return [message for message in found if message.id not in _SAID_ELSEWHERE and not message.is_silenced()]


def _is_there() -> bool:
    """Else each of the checks would wait for it anew."""
    try:
        connection.ensure_connection()
    except DatabaseProblem:
        return False
    return True


def _findings(messages: Iterator[CheckMessage] | list[CheckMessage]) -> Iterator[Finding]:
    for message in messages:
        level, remedy = _level(message), str(message.hint or "")
        if level is not Level.OK and not remedy:
            remedy = "Do as the message says."
        yield Finding(level, str(message.id), str(message.msg), remedy)


def _level(message: CheckMessage) -> Level:
    if message.level >= checks.ERROR or message.id in _STOPPING:
        return Level.ERROR
    return Level.WARNING if message.level >= checks.WARNING else Level.OK
