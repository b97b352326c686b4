"""The applications, each in an environment of its own outside of the checkout, installed when it is first needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "authgate-applications"
# Tests that run meanwhile come first.
_LAST = ("nice", "-n", "15")


def path(name: str) -> str:
    """PATH with its commands first. Without a name: of Debian's packages alone, some of which are for root."""
    machine = f"{os.environ['PATH']}:/usr/sbin"
    return f"{programs(name)}:{machine}" if name else machine


def programs(name: str) -> Path:
    """The directory of its commands. `requirements/NAME.txt` is pip's, `requirements/NAME.npm` one package a line."""
    if (REQUIREMENTS / f"{name}.npm").exists():
        return _npm(name) / "node_modules" / ".bin"
    return _pip(name) / "bin"


def _pip(name: str) -> Path:
    directory, wanted = CACHE / name, REQUIREMENTS / f"{name}.txt"
    if _is_installed(directory, wanted):
        return directory
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    pip = [str(directory / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*_LAST, *pip, "install", "--quiet", "-r", str(wanted)], check=True)
    return _note(directory, wanted)


def _npm(name: str) -> Path:
    directory, wanted = CACHE / name, REQUIREMENTS / f"{name}.npm"
    if _is_installed(directory, wanted):
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(directory)]
    subprocess.run([*_LAST, "npm", "install", *options, *wanted.read_text().split()], check=True)
    return _note(directory, wanted)


def _is_installed(directory: Path, wanted: Path) -> bool:
    noted = directory / "installed.txt"
    return noted.exists() and noted.read_text() == wanted.read_text()


def _note(directory: Path, wanted: Path) -> Path:
    (directory / "installed.txt").write_text(wanted.read_text())
    return directory
