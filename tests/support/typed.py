"""What a person types at the prompt of a command that the documentation prints."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path


def write_secret(command: str, secret: str) -> None:
    """Runs the command, which asks for a secret and writes it into a file of this directory for its owner alone."""
    before = set(os.listdir())
    subprocess.run(["bash", "-eu", "-c", command], input=f"{secret}\n", text=True, check=True, timeout=10)
    [written] = set(os.listdir()) - before
    assert Path(written).read_text() == secret
    assert stat.S_IMODE(Path(written).stat().st_mode) == 0o600
