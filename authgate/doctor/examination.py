"""Runs all examinations at once, since most of them wait for others, and ends in time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Queue
from threading import Condition, Lock, Thread
from typing import NamedTuple

from django.db import Error as DatabaseProblem
from django.db import connection

from authgate.doctor.finding import Finding, Level, error, warning
from authgate.doctor.registry import Examine, Further, Subject, registered
from authgate.state.trouble import OPERATORS_TROUBLE, trouble_of

logger = logging.getLogger(__name__)

SECONDS = 60.0
THREADS = 16


class Section(NamedTuple):
    subject: Subject
    findings: list[Finding]


class StillRunning(Exception):
    """The examination before this one has not ended in this process."""


@dataclass
class _Job:
    name: str
    examine: Examine
    findings: list[Finding] = field(default_factory=list)
    further: list[_Job] = field(default_factory=list)
    has_ended: bool = False

    def report(self, seconds: float) -> Iterator[Finding]:
        yield from list(self.findings)
        if not self.has_ended:
            yield error(
                self.name, f"gave no answer within {seconds:g} s", "See what it waits for: the network, or DNS."
            )
        for job in list(self.further):
            yield from job.report(seconds)


class _Run:
    """The threads are daemons: one that waits for the network holds up neither a page nor the end of a command."""

    def __init__(self, jobs: Iterable[_Job]) -> None:
        self._queue: Queue[_Job | None] = Queue()
        self._open = 0
        self._changed = Condition()
        for job in jobs:
            self._put(job)
        self.threads = [Thread(target=self._work, name=f"doctor-{n}", daemon=True) for n in range(THREADS)]
        for thread in self.threads:
            thread.start()

    def wait(self, seconds: float) -> None:
        """Until all jobs have ended, or no longer. Those that have not begun by then never do."""
        end = time.monotonic() + seconds
        with self._changed:
            while self._open and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)
        while not self._queue.empty():
            self._queue.get()
        for _ in self.threads:
            self._queue.put(None)

    def _put(self, job: _Job) -> None:
        with self._changed:
            self._open += 1
        self._queue.put(job)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                self._examine(job)
            finally:
                connection.close()
                with self._changed:
                    job.has_ended = True
                    self._open -= 1
                    self._changed.notify_all()

    def _examine(self, job: _Job) -> None:
        try:
            for found in job.examine():
                if isinstance(found, Further):
                    further = _Job(found.name, found.examine)
                    job.further.append(further)
                    self._put(further)
                else:
                    job.findings.append(found)
        except DatabaseProblem as problem:
            job.findings.append(_unread(job.name, problem))
        except Exception as problem:
            if not isinstance(problem, OPERATORS_TROUBLE):
                logger.exception("the examination of %s has failed", job.name)
            job.findings.append(error(job.name, trouble_of(problem).full, "See the log."))


_last: list[Thread] = []
_turn = Lock()


def examine(seconds: float = SECONDS) -> list[Section]:
    """Raises StillRunning."""
    jobs = [(subject, _Job(subject.value, examination)) for subject, examination in registered()]
    _keep_open()
    run = _begin([job for _, job in jobs])
    run.wait(seconds)
    found: dict[Subject, list[Finding]] = {subject: [] for subject in Subject}
    for subject, job in jobs:
        found[subject] += job.report(seconds)
    return [Section(subject, findings) for subject, findings in found.items() if findings]


def _keep_open() -> None:
    """The last connection to leave SQLite clears up, and one that comes at that moment finds the file locked."""
    if connection.vendor == "sqlite":
        with suppress(DatabaseProblem):
            connection.ensure_connection()


def count(sections: Iterable[Section], level: Level) -> int:
    return sum(finding.level is level for section in sections for finding in section.findings)


def _begin(jobs: list[_Job]) -> _Run:
    with _turn:
        if any(thread.is_alive() for thread in _last):
            raise StillRunning
        run = _Run(jobs)
        _last[:] = run.threads
    return run


def _unread(name: str, problem: DatabaseProblem) -> Finding:
    return warning(name, f"not examined: {trouble_of(problem).full}", "Mend the database first.")
