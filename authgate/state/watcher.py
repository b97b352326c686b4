"""Loads what this process decides by, and sees when it changes."""

from __future__ import annotations

import gc
import logging
import os
import sqlite3
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.db import DatabaseError, OperationalError, connection
from django.db import Error as DatabaseProblem

from authgate import generation
from authgate.authn.cache import IdentityCache
from authgate.authn.claims import LEEWAY
from authgate.authn.trust import TrustSnapshot
from authgate.models.policy import PolicyRevision
from authgate.models.trust import StateVersion
from authgate.models.versions import CHANNEL
from authgate.policy.compiler import check
from authgate.policy.document import PolicyDocument, parse_stored
from authgate.policy.pace import Pace, at_once, politely
from authgate.policy.rules import GrantRules
from authgate.policy.table import build_table
from authgate.state import kept, last_used, newest, on_disk
from authgate.state.bell import Bell
from authgate.state.issuer_keys import issuer_keys
from authgate.state.keeper import Keeper
from authgate.state.snapshot import Snapshot, current, install
from authgate.state.trouble import Trouble, trouble_of
from authgate.state.trust import TrustRows, build_trust, read_trust

logger = logging.getLogger(__name__)

# What is committed on this machine, or told by PostgreSQL, is loaded at once; this is for all else.
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
    return _build(*_read_policy(), build_trust(read_trust()), pace)


def _read_policy() -> tuple[int, str]:
    latest = PolicyRevision.objects.order_by("-number").values_list("number", "document").first()
    return latest or (0, "")


def _build(number: int, text: str, trust: TrustSnapshot, pace: Pace) -> Snapshot:
    document = parse_stored(text, pace=pace) if text else PolicyDocument()
    errors = check(document, pace=pace)
    table, grants = build_table(document, errors, pace=pace), GrantRules(document.grants, errors)
    return Snapshot(number, document, table, grants, trust, IdentityCache())


def prepare() -> None:
    """Before workers are forked: each new one begins with what the others decide by."""
    kept.policy.prepare()
    kept.trust.prepare()


def begin_without_database() -> on_disk.Begun | None:
    """Before workers are forked: each begins with what was kept on disk. None: nothing was, or it cannot be used."""
    longest = settings.AUTHGATE_COLD_START_SECONDS
    return on_disk.begin(longest) if longest else None


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


def age() -> float:
    """Seconds since this process last found that it decides by all that is in the database."""
    return time.monotonic() - _watcher.found_current_at if _watcher is not None else 0.0


def _trouble() -> Trouble | None:
    return _watcher.trouble() if _watcher is not None else None


class _Watcher:
    """Reads both counters in a thread of its own, so that a slow database never stops the event loop: again and again,
    and at once when a request waits for what it would load.
    """

    def __init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="policy-watcher", daemon=True)
        self._stopping = threading.Event()
        self._bell = Bell()
        self._listens: Any = None  # the connection that has asked PostgreSQL to tell it
        self._first_done = threading.Event()
        self._loaded: dict[str, int] | None = None
        self._tried: dict[str, int] | None = None
        self._policy = (0, "")  # number and text of the revision that is installed
        self._rows: TrustRows | None = None  # of the trust that is installed
        self._keeper = Keeper()
        self._next_signer_from = float("inf")
        self._clock_ahead = _clock_ahead()
        self._file: tuple[int, int] | None = None
        self._trouble: Trouble | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._polled_at = self.found_current_at = time.monotonic()

    def start(self) -> None:
        issuer_keys.start()
        last_used.start()
        newest.open_file(self._bell.ring)
        self._begin_with_kept()
        self._thread.start()
        if not self._first_done.wait(FIRST_LOAD_SECONDS if current() is None else NEXT_LOAD_SECONDS):
            logger.error("policy: the database has not answered yet; %s", _what_is_served())

    def _begin_with_kept(self) -> None:
        policy, trust = kept.policy.load(), kept.trust.load()
        if policy is None or trust is None or policy.file != trust.file:
            return
        began = time.time()
        snapshot = _build(policy.revision, policy.text, build_trust(trust.rows), at_once)
        install(replace(snapshot, knows_credentials=trust.knows_credentials))
        self._loaded, self._file = {"policy": policy.version, "trust": trust.version}, policy.file
        self._policy, self._rows = (policy.revision, policy.text), trust.rows
        self._next_signer_from = trust.rows.next_signer_from(began)
        newest.begin_with(policy.generation, trust.generation)

    def stop(self) -> None:
        self._stopping.set()
        self._bell.ring()
        # After a fork the thread exists in the parent only.
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        newest.close_file()
        issuer_keys.stop()
        last_used.stop()
        if not self._thread.is_alive():
            self._bell.close()

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
            self._bell.wait(POLL_SECONDS, self._told_by())
        connection.close()

    def _poll(self) -> None:
        try:
            self._leave_replaced_file()
            self._leave_old_clock()
            self._leave_old_signer()
            read_at = time.monotonic_ns()
            self._listen()
            said = newest.read()
            if self._refresh(_read_versions(), read_at, said):
                self._keeper.save()
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

    def _leave_old_signer(self) -> None:
        # Nobody changes a row when the time of the next key has come.
        if self._loaded is not None and time.time() >= self._next_signer_from:
            self._loaded = {**self._loaded, "trust": -1}

    def _listen(self) -> None:
        """Before the counters are read: what is told from then on ends the next wait."""
        if connection.vendor != "postgresql":
            return
        connection.ensure_connection()
        if connection.connection is not self._listens:
            self._listens = connection.connection
            # Without one, the library keeps every notice for somebody to fetch.
            self._listens.add_notify_handler(_ignore)
            # A standby server takes no LISTEN: then changes are seen when we look.
            with suppress(DatabaseError), connection.cursor() as cursor:
                cursor.execute(f"LISTEN {CHANNEL}")

    def _told_by(self) -> int | None:
        """The descriptor by which PostgreSQL tells."""
        listens = connection.connection
        if listens is None or listens is not self._listens or listens.closed:
            return None
        return int(listens.fileno())

    def _refresh(self, versions: dict[str, int], read_at: int, said: bytes) -> bool:
        """Whether what is installed is what the database has."""
        # The counters were read before the state: whatever changes meanwhile is seen by the next poll.
        if versions != self._loaded:
            if versions == self._tried and time.monotonic() < self._retry_at:
                if not self._is_new("trust", versions):
                    newest.trust_caught_up(said)
                return False
            self._tried = versions
            self._clock_ahead = _clock_ahead()
            self._reload(versions, said)
            self._loaded = versions
        newest.caught_up(said)
        self._keep(versions, read_at, said)
        self._recovered()
        return True

    def _reload(self, versions: dict[str, int], said: bytes) -> None:
        before = current()
        if before is None:
            self._reload_policy(self._read_trust(None))
            return
        # First: a policy may take long to build, or not be possible to build at all.
        if self._is_new("trust", versions):
            trust = self._read_trust(before)
            # Identities verified by the same keys stay remembered: each use of one asks for revocations.
            has_same_keys = trust.token_keys is before.trust.token_keys
            before = before.with_trust(trust, before.identities if has_same_keys else IdentityCache())
            install(before)
            if self._loaded is not None:
                self._loaded = {**self._loaded, "trust": versions.get("trust", 0)}
        newest.trust_caught_up(said)
        if self._is_new("policy", versions):
            self._reload_policy(before.trust)

    def _read_trust(self, before: Snapshot | None) -> TrustSnapshot:
        """Unseals no key again when only a session has ended."""
        # Of another database file nothing is known.
        began, rows = time.time(), read_trust(self._rows if self._loaded is not None else None)
        if before is not None and self._rows is not None and rows.has_keys_of(self._rows):
            trust = rows.beside(before.trust, self._rows)
        else:
            trust = build_trust(rows)
        self._next_signer_from = rows.next_signer_from(began)
        self._rows = rows  # last: of those that could not be used, nothing is known
        issuer_keys.keep_only({row.source for row in rows.issuers})
        return trust

    def _reload_policy(self, trust: TrustSnapshot) -> None:
        policy = _read_policy()
        snapshot = _build(*policy, trust, politely if self._first_done.is_set() else at_once)
        install(snapshot)
        self._policy = policy
        logger.info("policy revision %d is live: %d routes", snapshot.revision, len(snapshot.table.entries))

    def _is_new(self, kind: str, versions: dict[str, int]) -> bool:
        return self._loaded is None or versions.get(kind) != self._loaded.get(kind)

    def _keep(self, versions: dict[str, int], read_at: int, said: bytes) -> None:
        """The state for a worker that starts while the database is away."""
        numbers = dict(zip(generation.KINDS, generation.numbers(said), strict=True))
        marks = {kind: (versions.get(kind, 0), self._file, numbers[kind]) for kind in generation.KINDS}
        self._keeper.keep_policy(marks["policy"], self._policy, read_at)
        if self._rows is not None:
            self._keeper.keep_trust(marks["trust"], self._rows, read_at)

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
        self.found_current_at = time.monotonic()


def _read_versions() -> dict[str, int]:
    query = StateVersion.objects.values_list("name", "value")
    try:
        return dict(query)
    except DatabaseProblem:
        # The server restarted, or closed an idle connection: a new one may do.
        connection.close()
        return dict(query.all())


def _ignore(notice: object) -> None: ...


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
