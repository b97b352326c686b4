"""The user of the operating system that this process runs as."""

from __future__ import annotations

import os
import pwd


def cause_of(error: OSError) -> str:
    """In words, and for whom: root types commands that run as the gateway's user."""
    words = error.strerror or str(error)
    return f"{words} for the user {user_name()}" if isinstance(error, PermissionError) else words


def user_name() -> str:
    """A number where it has no name, as in a container."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
