"""A process with a gateway's settings that runs one piece of code after another, and says what each has printed."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping

from tests.support import processes

_LOOP = """
import contextlib, io, json, sys, traceback
from django.db import connections
answers = sys.stdout
for line in sys.stdin:
    printed, failure = io.StringIO(), ""
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(json.loads(line), "<test>", "exec"), {})
    except BaseException:
        failure = traceback.format_exc()
    connections.close_all()
    answers.write(json.dumps([printed.getvalue(), failure]) + "\\n")
    answers.flush()
"""
_COMMAND = """
import io, sys
from django.core.management import call_command
sys.stdin = io.TextIOWrapper(io.BytesIO({stdin!r}))
call_command(*{args!r})
"""


class ShellFailed(AssertionError):
    """The code raised; the message is the traceback."""


class Shell:
    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = dict(env)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            streams = [theirs.fileno(), theirs.fileno(), 2]
            self._process = processes.start(env, ["shell", "--no-imports", "-c", _LOOP], streams)
            self._io = ours.makefile("rw")

    def run(self, code: str) -> str:
        """What the code prints. Nothing is left of its names and its connections to the database."""
        self._io.write(json.dumps(code) + "\n")
        self._io.flush()
        answer = self._io.readline()
        if not answer:
            raise ShellFailed(f"the shell has ended with {self._process.wait(10)}: see standard error")
        printed, failure = json.loads(answer)
        if failure:
            raise ShellFailed(failure)
        return printed

    def command(self, *args: str, stdin: str = "") -> str:
        """What the command of manage.py prints."""
        return self.run(_COMMAND.format(args=args, stdin=stdin.encode()))

    def close(self) -> None:
        """Its input ends, and so does it."""
        self._io.close()
        self._process.wait(10)
