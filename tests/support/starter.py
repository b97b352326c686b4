"""The process that forks a child for each start of manage.py (tests/support/processes.py asks it to).

It has imported whatever can be imported before the settings are known. From the fork on, a child is what
`python manage.py …` would be: its own environment, arguments, directory, descriptors and session. A module that reads
a setting while it is imported cannot be imported here, so none can carry a value from one child to the next.

Each child has a parent of its own here, which waits for it and says how it ended.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import resource
import runpy
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.core.exceptions import AppRegistryNotReady, ImproperlyConfigured

from tests.support import clock

# Not gateway_site: it reads the environment.
PACKAGES = (
    "authgate", "proxy", "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
    "django.contrib.sessions",
)  # fmt: skip
ORDER_BYTES = 1 << 17
PR_SET_PDEATHSIG = 1


def load() -> None:
    for name in modules():
        with suppress(ImproperlyConfigured, AppRegistryNotReady):
            importlib.import_module(name)
    if settings.configured or threading.active_count() != 1:
        raise RuntimeError("an import read the settings, or started a thread: no child would have its own")
    gc.collect()
    gc.freeze()


def modules() -> Iterator[str]:
    for package in PACKAGES:
        place = Path(importlib.import_module(package).__path__[0])
        for path in sorted(place.rglob("*.py")):
            yield ".".join((package, *path.relative_to(place).with_suffix("").parts)).removesuffix(".__init__")


def next_child(orders: socket.socket) -> list[str]:
    """The arguments of a child, in the child. The starter itself never returns: it exits when nobody can ask it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, *_ = socket.recv_fds(orders, ORDER_BYTES, 4)
        if not message:
            os._exit(0)
        if not os.fork():
            orders.close()
            return child(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def child(order: dict[str, object], standard_input: int, output: int, error: int, report: int) -> list[str]:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    end_with_parent()
    pid = os.fork()
    if pid:
        for descriptor in (standard_input, output, error):  # whoever reads them waits for their end
            os.close(descriptor)
        os.write(report, b"%d\n" % pid)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(OSError):  # nobody has to wait for it
            os.write(report, b"%d\n" % status)
        os._exit(0)
    end_with_parent()
    if order["session"]:
        os.setsid()
    if order["file_bytes"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_bytes"], order["file_bytes"]))  # type: ignore[arg-type]
    for number, descriptor in enumerate((standard_input, output, error)):
        os.dup2(descriptor, number)
    os.closerange(3, max(standard_input, output, error, report) + 1)
    os.chdir(order["directory"])  # type: ignore[arg-type]
    os.environ.clear()
    os.environ.update(order["environment"])  # type: ignore[arg-type]
    clock.hold()
    return order["arguments"]  # type: ignore[return-value]


def end_with_parent() -> None:
    """As `setpriv --pdeathsig TERM`: a test run that is killed tears nothing down."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        load()
        sys.argv = next_child(orders)
    runpy.run_path(sys.argv[0], run_name="__main__")
