"""The examinations there are. Each room registers its own, as Django's checks are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple

from authgate.doctor.finding import Finding


class Subject(StrEnum):
    """In the order of the report."""

    CONFIGURATION = "configuration"
    FILES = "files"
    DATABASE = "database"
    REDIS = "Redis"
    KEYS = "signing keys"
    CERTIFICATES = "certificates"
    PROVIDERS = "identity providers"
    ISSUERS = "token issuers"
    UPSTREAMS = "upstreams"
    PUBLIC_URL = "public URL"


class Further(NamedTuple):
    """An examination that another one has found to be needed. It runs beside the others."""

    name: str
    examine: Examine


Examine = Callable[[], Iterable["Finding | Further"]]

_registered: list[tuple[Subject, Examine]] = []


def register(subject: Subject) -> Callable[[Examine], Examine]:
    def add(examine: Examine) -> Examine:
        _registered.append((subject, examine))
        return examine

    return add


def registered() -> list[tuple[Subject, Examine]]:
    return sorted(_registered, key=lambda entry: list(Subject).index(entry[0]))
