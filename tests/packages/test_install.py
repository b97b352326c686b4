"""The wheel in new environments, with all that it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.gateway import ROOT


def environment_with(directory: Path, *installs: list[str]) -> Path:
    """Its Python."""
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    python = directory / "bin" / "python"
    for arguments in installs:
        subprocess.run([python, "-m", "pip", "install", "--quiet", *arguments], check=True)
    return python


def test_with_the_hashes_of_the_lock_nothing_is_missing(wheel, tmp_path):
    python = environment_with(
        tmp_path, ["--require-hashes", "-r", str(ROOT / "requirements.txt")], ["--no-index", "--no-deps", str(wheel)]
    )
    subprocess.run([python, "-m", "pip", "check"], check=True)
    subprocess.run([python.with_name("authgate"), "help", "serve"], check=True, stdout=subprocess.DEVNULL)


def test_by_its_own_metadata_it_gets_the_versions_of_the_lock_and_its_extra(wheel, tmp_path):
    python = environment_with(tmp_path, [f"authgate[otlp] @ {wheel.as_uri()}"])
    subprocess.run([python, "-m", "pip", "check"], check=True)
    again = [python, "-m", "pip", "install", "--dry-run", "--quiet", "--no-index", "--require-hashes"]
    for file in ("requirements.txt", "requirements-otlp.txt"):
        subprocess.run([*again, "-r", str(ROOT / file)], check=True)  # everything is there already
