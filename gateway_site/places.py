"""Where the project lies, and where its data are unless a setting says so."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def is_checkout() -> bool:
    """False for an installed package: beside that lies what others have installed."""
    return (ROOT / "manage.py").exists()


def data_dir() -> Path:
    """Of a checkout, `var` in it; of an installed package, as the XDG Base Directory Specification has it."""
    if is_checkout():
        return ROOT / "var"
    home = Path(os.path.expanduser("~"))
    if not home.is_absolute():  # a user without a home
        return Path("/var/lib/authgate")
    named = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (named if named.is_absolute() else home / ".local" / "share") / "authgate"
