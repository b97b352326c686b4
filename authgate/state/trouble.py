"""What is wrong around the gateway: in full for its operator, in a fixed sentence for everybody else."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import NamedTuple

from django.db import DatabaseError, InterfaceError, InternalError, OperationalError, ProgrammingError, connection
from django.db import Error as DatabaseProblem

from authgate.authn.keys import KeyUnusable
from authgate.policy.errors import PolicyInvalid
from authgate.system_user import user_name

# No traceback helps with these: the operator has to mend something, a file system or a database perhaps.
OPERATORS_TROUBLE = (DatabaseProblem, KeyUnusable, OSError)

# Of what databases and the operating system raise, what neither a request nor a mistake here brings about.
_AWAY = (OperationalError, InterfaceError, InternalError)
_EXHAUSTED = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EFBIG)
)
_DAMAGED = re.compile(r"is not a database|is malformed")
_UNMIGRATED = re.compile(r"no such (table|column)|(relation|column) .+ does not exist")


class Trouble(NamedTuple):
    full: str  # one line for the log and the terminal: it may name hosts, users and files
    public: str


def trouble_of(error: Exception) -> Trouble:
    cause = " ".join(str(error).split())
    if isinstance(error, DatabaseProblem):
        hint = "; run manage.py migrate first" if _UNMIGRATED.search(cause) else missing_file() or _damaged_file(cause)
        return Trouble(f"database: {cause}{hint}", "the database cannot be used")
    if isinstance(error, KeyUnusable):
        return Trouble(cause, "a signing key cannot be used")
    if isinstance(error, PolicyInvalid):
        more = f" (and {len(error.errors) - 1} more)" if len(error.errors) > 1 else ""
        return Trouble(f"{error.errors[0]}{more}", "the newest revision of the policy is not valid")
    named = f"{type(error).__name__}: {cause}"
    return Trouble(cause if cause and isinstance(error, OSError) else named, "an unexpected error")


def is_outage(error: BaseException) -> bool:
    """Whether something around the gateway is broken, and the request may be sent again when it is mended."""
    if isinstance(error, ProgrammingError):
        return _UNMIGRATED.search(str(error)) is not None
    if isinstance(error, DatabaseProblem):
        # A file that is damaged or no database is a DatabaseError of no closer kind.
        return isinstance(error, _AWAY) or type(error) is DatabaseError
    return isinstance(error, OSError) and error.errno in _EXHAUSTED


def missing_file() -> str:
    """What to do where a file cannot be had; empty while it can, or with a server."""
    if connection.vendor != "sqlite" or str(name := connection.settings_dict["NAME"]).startswith("file:"):
        return ""
    path = Path(name)
    try:
        path.stat()
    except FileNotFoundError:
        return f": {str(path)!r} is not there; put it back, or run manage.py migrate for a new one"
    except OSError as error:
        return f": {_denied(path.parent, error.strerror)}"
    closed = [place for place in (path, path.parent) if not os.access(place, os.R_OK | os.W_OK)]
    return f": {_denied(closed[0], 'Permission denied')}" if closed else ""


def _denied(place: Path, cause: str | None) -> str:
    return f"{str(place)!r}: {cause} for the user {user_name()}; run this as its owner, or chown it to that user"


def _damaged_file(cause: str) -> str:
    if connection.vendor != "sqlite" or _DAMAGED.search(cause) is None:
        return ""
    return f": {str(connection.settings_dict['NAME'])!r} is damaged, or no database; restore it from a backup"
