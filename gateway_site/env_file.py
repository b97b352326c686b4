"""One file of settings for all commands. What the environment says wins; no error repeats a value."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from gateway_site import env
from gateway_site.env import EnvError

IN_DATA_DIR = "authgate.env"
_NAME = re.compile(r"AUTHGATE_[A-Z0-9_]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def named(name: str) -> Path | None:
    """The file that this variable names, now in use; None when it is not set."""
    file_name = os.environ.get(name, "")
    env.know(name)
    if not file_name:
        return None
    path = Path(file_name).absolute()
    _use(name, path, forbidden=(name,))
    return path


def kept(data_dir: Path) -> Path | None:
    """The file of the data directory, now in use; None when there is none."""
    path = data_dir / IN_DATA_DIR
    if not os.path.lexists(path):
        return None
    _use(str(path), path, forbidden=("AUTHGATE_ENV_FILE", "AUTHGATE_DATA_DIR", "AUTHGATE_DATA_DIR_FILE"))
    return path


def _use(name: str, path: Path, *, forbidden: tuple[str, ...]) -> None:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            _refuse_others(name, path, os.fstat(file.fileno()))
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise EnvError(name, f"cannot read {str(path)!r}: {cause}") from error
    env.use_file({key: (value, f"{path}:{number}") for key, value, number in _parse(path, text, forbidden)})


def _refuse_others(name: str, path: Path, status: os.stat_result) -> None:
    # Root would read for them what a NAME_FILE in it names, and hand that to the user it becomes.
    if os.geteuid() == 0 and (status.st_uid != 0 or status.st_mode & 0o022):
        raise EnvError(name, f"others may write to {str(path)!r}, so root does not read it: chown root, chmod go-w")


def _parse(path: Path, text: str, forbidden: tuple[str, ...]) -> Iterator[tuple[str, str, int]]:
    seen: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip(" \t\r")
        if not stripped or stripped.startswith("#"):
            continue
        key, equals, value = stripped.partition("=")
        place = f"{path}:{number}"
        if (found := _CONTROL.search(stripped)) is not None:
            raise EnvError(place, f"a control character ({found[0]!r}); lines end with LF or CR LF")
        if not equals or not _NAME.fullmatch(key):
            raise EnvError(place, "must be AUTHGATE_NAME=value, or begin with #")
        if key in forbidden:
            raise EnvError(place, f"{key} says where this file is, so it cannot stand in it")
        if key in seen:
            raise EnvError(place, f"{key} is already set in line {seen[key]}")
        seen[key] = number
        yield key, _unquote(place, value.strip(" \t")), number


def _unquote(place: str, value: str) -> str:
    if not value.startswith(('"', "'")):
        return value
    if len(value) < 2 or value[-1] != value[0]:
        raise EnvError(place, f"a value that begins with {value[0]} must end with it")
    return value[1:-1]
