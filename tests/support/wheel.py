"""The project as a wheel: built from a copy of what it is built from, and installed into an environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.support.processes import ROOT

PACKAGES = ("authgate", "gateway_site", "proxy")
_NEEDED = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    ".gitignore",
    ".dockerignore",
    "deploy",
    *ROOT.glob("requirements*.txt"),
)
# Also what a checkout has and a release does not: nothing of it may be in the wheel.
_NOT_COPIED = shutil.ignore_patterns("node_modules", "__pycache__")


def copy_source(directory: Path) -> Path:
    for name in (*_NEEDED, *PACKAGES):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / source.name, ignore=_NOT_COPIED)
        else:
            shutil.copy(source, directory)
    return directory


def build(source: Path, **environment: str) -> Path:
    """As `make wheel` does."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", "built"]
    subprocess.run(command, cwd=source, env={**os.environ, **environment}, check=True, capture_output=True)
    (wheel,) = (source / "built").iterdir()
    return wheel


def install_beside_ours(wheel: Path, directory: Path) -> Path:
    """The command `authgate` of a new environment that finds all other packages where this process does."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    python = directory / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "--no-index", "--no-deps", str(wheel)], check=True)
    ours = sysconfig.get_path("purelib")
    theirs = Path(sysconfig.get_path("purelib", vars={"base": str(directory), "platbase": str(directory)}))
    (theirs / "ours.pth").write_text(f"{ours}\n")
    return directory / "bin" / "authgate"
