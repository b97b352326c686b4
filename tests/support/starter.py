"""The process that forks a child for each start of manage.py (tests/support/processes.py asks it to).

It has imported whatever can be imported before the settings are known. From the fork on, a child is what
`python manage.py …` would be: its own environment, arguments, directory, descriptors and session. A module that reads
a setting while it is imported cannot be imported here, so none can carry a value from one child to the next.

It is the parent of all of them, and says of each how it ended. A child that ends does what Python does then, but for
taking itself apart: to write to every page of memory that it shares with its parent would cost as much as a start.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import resource
import runpy
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import CodeType

from django.conf import settings
from django.core.exceptions import AppRegistryNotReady, ImproperlyConfigured

from tests.support import clock

PACKAGES = (
    "authgate", "proxy", "django.contrib.admin", "django.contrib.admindocs", "django.contrib.auth",
    "django.contrib.contenttypes", "django.contrib.messages", "django.contrib.sessions", "django.contrib.sites",
    "django.contrib.staticfiles", "django.core", "django.db.backends.postgresql", "django.db.backends.sqlite3",
    "django.db.migrations", "django.middleware", "django.templatetags",
)  # fmt: skip
# The first reads the environment; of the others not even the packages can be imported without settings, or at all.
NOT_IMPORTED = ("gateway_site", "drf_spectacular", "drf_spectacular_sidecar", "rest_framework")
ORDER_BYTES = 1 << 17
PR_SET_PDEATHSIG = 1


class Known(SourceFileLoader):
    """Finds the modules that each child imports by itself, and has their code."""

    specs: dict[str, ModuleSpec] = {}

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name, path)
        self._code = super().get_code(name)

    def get_code(self, fullname: str) -> CodeType | None:
        return self._code

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return cls.specs.get(name)


def load() -> None:
    for name in modules(PACKAGES):
        with suppress(ImproperlyConfigured, AppRegistryNotReady):
            importlib.import_module(name)
    if settings.configured or threading.active_count() != 1:
        raise RuntimeError("an import read the settings, or started a thread: no child would have its own")
    for name, path in modules(PACKAGES + NOT_IMPORTED).items():
        if name not in sys.modules:
            known = spec_from_file_location(name, path, loader=Known(name, str(path)))
            assert known is not None
            Known.specs[name] = known
    sys.meta_path.insert(0, Known)
    gc.collect()
    gc.freeze()


def modules(packages: tuple[str, ...]) -> dict[str, Path]:
    """Their names and files."""
    found = {}
    for package in packages:
        spec = find_spec(package)
        assert spec is not None
        place = Path(str(spec.origin)).parent
        for path in sorted(place.rglob("*.py")):
            name = ".".join((package, *path.relative_to(place).with_suffix("").parts)).removesuffix(".__init__")
            found[name] = path
    return found


def next_child(orders: socket.socket) -> list[str]:
    """The arguments of a child, in the child. The starter itself never returns: it exits when nobody can ask it."""
    reports: dict[int, int] = {}  # who is told how a child has ended
    ended, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([orders, ended], [], [])
        if ended in ready:
            os.read(ended, 1 << 12)
            report_ended(reports)
        if orders not in ready:
            continue
        message, descriptors, *_ = socket.recv_fds(orders, ORDER_BYTES, 4)
        if not message:
            os._exit(0)
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            highest = max(*descriptors, *reports.values(), orders.detach(), ended, wake)
            return child(json.loads(message), descriptors[:3], highest)
        reports[pid] = descriptors[3]
        tell(descriptors[3], pid)
        for descriptor in descriptors[:3]:  # whoever reads them waits for their end
            os.close(descriptor)


def report_ended(reports: dict[int, int]) -> None:
    for pid in [*reports]:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            continue
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        report = reports.pop(pid)
        tell(report, status)
        os.close(report)


def tell(report: int, number: int) -> None:
    with suppress(OSError):  # nobody has to wait for it
        os.write(report, b"%d\n" % number)


def child(order: dict[str, object], streams: list[int], highest: int) -> list[str]:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    end_with_parent()
    if order["session"]:
        os.setsid()
    if order["file_bytes"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_bytes"], order["file_bytes"]))  # type: ignore[arg-type]
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    os.closerange(3, highest + 1)
    os.chdir(order["directory"])  # type: ignore[arg-type]
    os.environ.clear()
    os.environ.update(order["environment"])  # type: ignore[arg-type]
    clock.hold()
    return order["arguments"]  # type: ignore[return-value]


def end_with_parent() -> None:
    """As `setpriv --pdeathsig TERM`: a test run that is killed tears nothing down."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def run(program: str) -> None:
    """As Python would, and then the end of a process that takes nothing apart."""
    status: object = None
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as asked:
        status = asked.code
    if status is not None and not isinstance(status, int):
        sys.exit(status)  # type: ignore[arg-type]
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    close_databases()
    try:
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        sys.exit(status)
    os._exit(status or 0)


def close_databases() -> None:
    """As they are when they are taken apart: SQLite puts its log back into the database."""
    if settings.configured:
        from django.db import connections

        connections.close_all()


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        load()
        sys.argv = next_child(orders)
    run(sys.argv[0])
