"""What is wrong around the gateway: in full for its operator, in a fixed sentence for everybody else."""

from __future__ import annotations

import re
from typing import NamedTuple

from django.db import Error as DatabaseProblem

from authgate.authn.keys import KeyUnusable
from authgate.policy.errors import PolicyInvalid

# No traceback helps with these: the operator has to mend something, a file system or a database perhaps.
OPERATORS_TROUBLE = (DatabaseProblem, KeyUnusable, OSError)

_UNMIGRATED = re.compile(r"no such (table|column)|(relation|column) .+ does not exist")


class Trouble(NamedTuple):
    full: str  # one line for the log and the terminal: it may name hosts, users and files
    public: str


def trouble_of(error: Exception) -> Trouble:
    cause = " ".join(str(error).split())
    if isinstance(error, DatabaseProblem):
        hint = "; run manage.py migrate first" if _UNMIGRATED.search(cause) else ""
        return Trouble(f"database: {cause}{hint}", "the database cannot be used")
    if isinstance(error, KeyUnusable):
        return Trouble(cause, "a signing key cannot be used")
    if isinstance(error, PolicyInvalid):
        more = f" (and {len(error.errors) - 1} more)" if len(error.errors) > 1 else ""
        return Trouble(f"{error.errors[0]}{more}", "the newest revision of the policy is not valid")
    named = f"{type(error).__name__}: {cause}"
    return Trouble(cause if cause and isinstance(error, OSError) else named, "an unexpected error")
