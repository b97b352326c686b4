"""A process beside a gateway that holds the lock of operators' changes while something in the database changes."""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType
from typing import Any

from tests.support.gateway import MANAGE, ROOT, Gateway

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
        self._process = subprocess.Popen(
            [sys.executable, MANAGE, "shell", "--no-imports", "-c", _LOOP],
            env=gateway.env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Holder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

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
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that holds the lock has ended: see standard error"
        return json.loads(answer)
