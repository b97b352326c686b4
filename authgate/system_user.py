"""The user of the operating system that this process runs as."""

from __future__ import annotations

import os
import pwd


def user_name() -> str:
    """A number where it has no name, as in a container."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
