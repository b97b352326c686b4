"""One line of the doctor's report."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(NamedTuple):
    level: Level
    name: str
    text: str
    remedy: str = ""  # what to do


def ok(name: str, text: str) -> Finding:
    return Finding(Level.OK, name, text)


def warning(name: str, text: str, remedy: str) -> Finding:
    return Finding(Level.WARNING, name, text, remedy)


def error(name: str, text: str, remedy: str) -> Finding:
    return Finding(Level.ERROR, name, text, remedy)
