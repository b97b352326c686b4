"""A terminal that types a script line by line and answers what programs ask, as a person would."""

from __future__ import annotations

import os
import pty
import select
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


class Terminal:
    """A shell on a terminal of its own; without echo, so that `output` is what programs print."""

    def __init__(self, directory: Path, env: Mapping[str, str]) -> None:
        self.output = ""
        self._pid, self._descriptor = pty.fork()
        if self._pid == 0:
            os.chdir(directory)
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting"], {**env, "PS1": "", "PS2": ""})
        self.type("stty -echo; echo re''ady")
        self.wait_for("ready")

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc: object) -> None:
        """Ends what runs in it as Ctrl-C does. A gateway would take the HUP of a closed terminal for a reload."""
        deadline = time.monotonic() + 30
        while os.tcgetpgrp(self._descriptor) != self._pid and time.monotonic() < deadline:
            self.interrupt()
            time.sleep(0.2)
        os.close(self._descriptor)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)
        os.waitpid(self._pid, 0)

    def type(self, line: str) -> None:
        os.write(self._descriptor, f"{line}\n".encode())

    def interrupt(self) -> None:
        os.write(self._descriptor, b"\x03")

    def wait_for(self, text: str, *, seconds: float = 60) -> str:
        """What was printed up to and with this text; the next wait begins behind it."""
        deadline = time.monotonic() + seconds
        while text not in self.output:
            assert time.monotonic() < deadline, f"{text!r} did not come in: {self.output}"
            if select.select([self._descriptor], [], [], 0.2)[0]:
                self.output += os.read(self._descriptor, 65536).decode("utf-8", "replace").replace("\r\n", "\n")
        before, _, self.output = self.output.partition(text)
        return before + text

    def run(self, line: str) -> str:
        """What it printed, when it has ended well."""
        self.type(line)
        self.type('echo "st""atus=$?."')
        printed = self.wait_for("status=") + self.wait_for(".")
        assert printed.endswith("status=0."), printed
        return printed.removesuffix("status=0.")
