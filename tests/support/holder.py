"""A process beside a gateway that holds the lock of operators' changes while something in the database changes."""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any

from tests.support import processes
from tests.support.gateway import Gateway

_LOOP = """
import json, sys
from django.db import transaction
from django.test.utils import setup_test_environment
from authgate.models import versions
from tests.support.powers import digest
setup_test_environment()
names = {}
def say(value):
    sys.stdout.write(json.dumps(value) + "\\n")
    sys.stdout.flush()
for line in sys.stdin:
    order = json.loads(line)
    if "run" in order:
        exec(order["run"], names)
        say(names.pop("result", None))
    else:
        with transaction.atomic():
            versions.lock("policy")
            exec(order["hold"], names)
            say(digest())
            sys.stdin.readline()
        say("released")
"""


class Holder:
    """Speaks the gateway's own code, in the gateway's own environment."""

    def __init__(self, gateway: Gateway) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            streams = [theirs.fileno(), theirs.fileno(), 2]
            self._process = processes.start(gateway.env, ["shell", "--no-imports", "-c", _LOOP], streams)
            self._io = ours.makefile("rw")

    def __enter__(self) -> Holder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(10)
        self._io.close()

    def run(self, code: str) -> Any:
        """What the code leaves in `result`."""
        return self._order({"run": code})

    def digest(self) -> Any:
        return self.run("from tests.support.powers import digest; result = digest()")

    def hold(self, code: str) -> Any:
        """Lock, change, and wait. All rows, as they will be."""
        return self._order({"hold": code})

    def release(self) -> None:
        assert self._order({}) == "released"

    def _order(self, order: dict[str, str]) -> Any:
        self._io.write(json.dumps(order) + "\n")
        self._io.flush()
        answer = self._io.readline()
        assert answer, "the process that holds the lock has ended: see standard error"
        return json.loads(answer)
