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


def environment(name: str) -> dict[str, str]:
    """Variables by which its programs are found. `NAME.txt` is pip's, `NAME.npm` has one package a line."""
    if (REQUIREMENTS / f"{name}.npm").exists():
        modules = _npm(name) / "node_modules"
        return {"PATH": f"{modules / '.bin'}:{os.environ['PATH']}", "NODE_PATH": str(modules)}
    return {"PATH": f"{_pip(name) / 'bin'}:{os.environ['PATH']}"}


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
