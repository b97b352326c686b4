"""Keeps what a worker has read for those that start while the database is away: in shared memory and on disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

from django.conf import settings

from authgate.state import kept, on_disk
from authgate.state.trust import TrustRows

# A hundred people may sign out in the same second.
_EVERY_SECONDS = 0.5

# Of a state: its counter, its database file, its generation.
Mark = tuple[int, tuple[int, int] | None, int]

logger = logging.getLogger(__name__)


class Keeper:
    def __init__(self) -> None:
        self._kept: dict[str, Mark] = {}  # by kind
        self._unsaved: dict[str, Callable[[], bool]] = {}
        self._saved_at = 0.0
        self._on_disk: dict[str, Callable[[], None]] = {}  # whether saved or not: the file says since when it holds
        self._on_disk_at = 0.0
        self._problem = ""

    def keep_policy(self, mark: Mark, policy: tuple[int, str], read_at: int) -> None:
        """`policy`: number and text of its revision. `read_at`: when its counter was read."""
        if mark != self._kept.get("policy"):
            state = kept.PolicyState(*mark, *policy)
            self._kept["policy"] = mark
            self._unsaved["policy"] = partial(kept.policy.save, state, read_at)
            self._on_disk["policy"] = partial(on_disk.policy.save, state)

    def keep_trust(self, mark: Mark, rows: TrustRows, read_at: int) -> None:
        if mark != self._kept.get("trust"):
            state = kept.TrustState(*mark, rows)
            self._kept["trust"] = mark
            self._unsaved["trust"] = partial(kept.trust.save, state, read_at)
            self._on_disk["trust"] = partial(on_disk.trust.save, state)

    def save(self) -> None:
        """When it is time. The database has just agreed with what is kept."""
        now = time.monotonic()
        if now >= self._saved_at + _EVERY_SECONDS:
            self._saved_at = now
            self._unsaved = {kind: save for kind, save in self._unsaved.items() if not save()}
        if settings.AUTHGATE_COLD_START_SECONDS and now >= self._on_disk_at + on_disk.EVERY_SECONDS:
            self._on_disk_at = now
            self._save_on_disk()

    def _save_on_disk(self) -> None:
        problem = ""
        try:
            for save in self._on_disk.values():
                save()
        except OSError as error:
            problem = error.strerror or str(error)
        if problem and problem != self._problem:
            logger.error("the last state cannot be kept on disk, for starts without the database: %s", problem)
        self._problem = problem
