"""Loads what this process decides by, and sees when it changes."""

from __future__ import annotations

import gc
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial

from django.db import DatabaseError, OperationalError, connection
from django.db import Error as DatabaseProblem

from authgate.authn.cache import IdentityCache
from authgate.authn.claims import LEEWAY
from authgate.models.policy import PolicyRevision
from authgate.models.trust import StateVersion
from authgate.policy.compiler import check
from authgate.policy.document import PolicyDocument, parse_stored
from authgate.policy.pace import Pace, at_once, politely
from authgate.policy.rules import GrantRules
from authgate.policy.table import build_table
from authgate.state import kept
from authgate.state.snapshot import Snapshot, current, install
from authgate.state.trouble import Trouble, trouble_of
from authgate.state.trust import TrustRows, build_trust, read_trust

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
FIRST_LOAD_SECONDS = 15.0
# A worker that begins with what the others decide by need not wait so long for a database that hangs.
NEXT_LOAD_SECONDS = 2.0
# A poll that hangs, on a lock or a dead network, is a fault too although nothing was raised.
SILENCE_SECONDS = 15.0
MAX_BACKOFF_SECONDS = 10.0

_watcher: _Watcher | None = None


def load(*, pace: Pace = at_once) -> Snapshot:
    """From the database: the latest revision, never rows. Raises; before the first revision all is denied."""
    return _build(*_read_policy(), read_trust(), pace)


def _read_policy() -> tuple[int, str]:
    latest = PolicyRevision.objects.order_by("-number").values_list("number", "document").first()
    return latest or (0, "")


def _build(number: int, text: str, rows: TrustRows, pace: Pace) -> Snapshot:
    document = parse_stored(text, pace=pace) if text else PolicyDocument()
    errors = check(document, pace=pace)
    table, grants = build_table(document, errors, pace=pace), GrantRules(document.grants, errors)
    return Snapshot(number, document, table, grants, build_trust(rows), IdentityCache())


def prepare() -> None:
    """Before workers are forked: each new one begins with what the others decide by."""
    kept.policy.prepare()
    kept.trust.prepare()


def start_watching() -> None:
    """In each worker, after the fork. Returns when the first load has succeeded or failed; see fault()."""
    global _watcher
    stop_watching()
    _watcher = _Watcher()
    _watcher.start()
    # What exists now lives as long as the process. Walking it again and again would stop all requests for tens
    # of milliseconds each time.
    gc.collect()
    gc.freeze()


def stop_watching() -> None:
    global _watcher
    if _watcher is not None:
        _watcher.stop()
        _watcher = None


def fault() -> str | None:
    """Why what is served may be out of date, in one line for operators; None when all is well."""
    trouble = _trouble()
    return trouble.full if trouble else None


def not_ready() -> str | None:
    """The same for anybody who asks: no names of hosts, users or files."""
    trouble = _trouble()
    if current() is None:
        return f"no policy is loaded: {trouble.public}" if trouble else "no policy is loaded yet"
    return trouble.public if trouble else None


def _trouble() -> Trouble | None:
    return _watcher.trouble() if _watcher is not None else None


class _Watcher:
    """Polls both counters in a thread of its own, so that a slow database never stops the event loop."""

    def __init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="policy-watcher", daemon=True)
        self._stopping = threading.Event()
        self._first_done = threading.Event()
        self._loaded: dict[str, int] | None = None
        self._tried: dict[str, int] | None = None
        self._unsaved: list[Callable[[], bool]] = []
        self._clock_ahead = _clock_ahead()
        self._file: tuple[int, int] | None = None
        self._trouble: Trouble | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._polled_at = time.monotonic()

    def start(self) -> None:
        self._begin_with_kept()
        self._thread.start()
        if not self._first_done.wait(FIRST_LOAD_SECONDS if current() is None else NEXT_LOAD_SECONDS):
            logger.error("policy: the database has not answered yet; %s", _what_is_served())

    def _begin_with_kept(self) -> None:
        policy, trust = kept.policy.load(), kept.trust.load()
        if policy is None or trust is None or policy.file != trust.file:
            return
        install(_build(policy.revision, policy.text, trust.rows, at_once))
        self._loaded, self._file = {"policy": policy.version, "trust": trust.version}, policy.file

    def stop(self) -> None:
        self._stopping.set()
        # After a fork the thread exists in the parent only.
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def trouble(self) -> Trouble | None:
        silence = time.monotonic() - self._polled_at
        if self._trouble is None and silence > SILENCE_SECONDS:
            full = f"the database has not answered for {silence:.0f} seconds"
            return Trouble(full, "the database does not answer")
        return self._trouble

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._poll()
            self._first_done.set()
            self._stopping.wait(POLL_SECONDS)
        connection.close()

    def _poll(self) -> None:
        try:
            self._leave_replaced_file()
            self._leave_old_clock()
            read_at = time.monotonic_ns()
            self._refresh(_read_versions(), read_at)
            self._unsaved = [save for save in self._unsaved if not save()]
        # Whatever goes wrong, this thread must live to try again; the last good snapshot goes on.
        except Exception as error:
            connection.close()
            self._failed(trouble_of(error))
        finally:
            self._polled_at = time.monotonic()

    def _leave_replaced_file(self) -> None:
        # A restored backup is another file; an open connection would go on reading the one it replaced.
        file = _database_file()
        if file != self._file:
            connection.close()
            self._file, self._loaded = file, None
        if file is not None:
            _check_file(connection.settings_dict["NAME"])

    def _leave_old_clock(self) -> None:
        # What had expired by a clock that was set back since may be in force again: revocations are read anew.
        if _clock_ahead() < self._clock_ahead - LEEWAY:
            self._loaded = None

    def _refresh(self, versions: dict[str, int], read_at: int) -> None:
        # The counters were read before the state: whatever changes meanwhile is seen by the next poll.
        if versions != self._loaded:
            if versions == self._tried and time.monotonic() < self._retry_at:
                return
            self._tried = versions
            self._clock_ahead = _clock_ahead()
            self._reload(versions, read_at)
            self._loaded = versions
        self._recovered()

    def _reload(self, versions: dict[str, int], read_at: int) -> None:
        before, rows = current(), read_trust()
        if before and self._loaded and versions.get("policy") == self._loaded.get("policy"):
            install(replace(before, trust=build_trust(rows), identities=IdentityCache()))
        else:
            number, text = _read_policy()
            snapshot = _build(number, text, rows, politely if self._first_done.is_set() else at_once)
            install(snapshot)
            logger.info("policy revision %d is live: %d routes", snapshot.revision, len(snapshot.table.entries))
            policy = kept.PolicyState(versions.get("policy", 0), self._file, number, text)
            self._unsaved.append(partial(kept.policy.save, policy, read_at))
        trust = kept.TrustState(versions.get("trust", 0), self._file, rows)
        self._unsaved.append(partial(kept.trust.save, trust, read_at))

    def _failed(self, trouble: Trouble) -> None:
        if trouble != self._trouble:
            logger.error("policy: %s; %s", trouble.full, _what_is_served())
        self._trouble = trouble
        self._retry_at = time.monotonic() + min(POLL_SECONDS * 2**self._failures, MAX_BACKOFF_SECONDS)
        self._failures = min(self._failures + 1, 10)

    def _recovered(self) -> None:
        if self._trouble is not None:
            logger.info("policy: recovered")
        self._trouble, self._failures = None, 0


def _read_versions() -> dict[str, int]:
    query = StateVersion.objects.values_list("name", "value")
    try:
        return dict(query)
    except DatabaseProblem:
        # The server restarted, or closed an idle connection: a new one may do.
        connection.close()
        return dict(query.all())


def _clock_ahead() -> float:
    """Of the clock that nobody sets: it falls when the other one is set back."""
    return time.time() - time.monotonic()


def _database_file() -> tuple[int, int] | None:
    """Which file SQLite's name leads to now; an open one keeps its number to itself. None for a server."""
    if connection.vendor != "sqlite":
        return None
    try:
        status = os.stat(connection.settings_dict["NAME"])
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _check_file(name: str) -> None:
    """Raises DatabaseError. An open connection goes on answering from memory when its file was overwritten, or closed
    to us, while whoever opens it anew is refused.

    Opened by SQLite, never by us: closing a file of our own would drop the locks that SQLite holds on it in this
    process, and with them what others write (sqlite.org/howtocorrupt.html, 2.2).
    """
    with connection.wrap_database_errors, closing(sqlite3.connect(name, timeout=0)) as probe:
        probe.execute("PRAGMA schema_version")
    if not os.access(name, os.W_OK):
        raise OperationalError("unable to open database file")
    if not os.path.getsize(name):
        raise DatabaseError("file is not a database")


def _what_is_served() -> str:
    snapshot = current()
    return f"revision {snapshot.revision} stays in force" if snapshot else "nothing is allowed"
