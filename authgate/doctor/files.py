from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from authgate.doctor import configuration
from authgate.doctor.finding import Finding, error, ok, warning
from authgate.doctor.registry import Subject, register

FREE_BYTES = 512 * 1024 * 1024
_SETTINGS_FILE = "authgate.env"  # may be root's


@register(Subject.FILES)
def examine_files() -> Iterator[Finding]:
    found = configuration.of_files()
    yield from found or [ok("permissions", "no file of the gateway is open to other users of this machine")]
    data: Path = settings.AUTHGATE_DATA_DIR
    if not data.is_dir():
        yield error("data directory", f"{str(data)!r} is not there", "manage.py migrate makes it, with a new database.")
        return
    yield _owners(data)
    free = shutil.disk_usage(data).free
    text = f"{free // (1024 * 1024)} MiB are free for {str(data)!r}"
    if free < FREE_BYTES:
        yield warning("disk", text, "Make room: on a full disk nobody can sign in, and nothing can be edited.")
    else:
        yield ok("disk", text)


def _owners(data: Path) -> Finding:
    """What a command has made as root, the gateway cannot write."""
    owner = data.stat().st_uid
    strange = [path.name for path in sorted(data.iterdir()) if path.name != _SETTINGS_FILE and _owner(path) != owner]
    name = _name(owner)
    if strange:
        text = f"of another user than {str(data)!r} itself, which is {name}'s: {', '.join(strange[:5])}"
        return error("owners", text, f"chown -R {name} {data}, and run commands as that user.")
    if os.geteuid() not in (0, owner):
        return warning(
            "owners", f"{str(data)!r} is {name}'s, who does not run this", f"sudo -u {name} manage.py doctor"
        )
    return ok("owners", f"everything in {str(data)!r} is {name}'s")


def _owner(path: Path) -> int:
    return path.lstat().st_uid


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
