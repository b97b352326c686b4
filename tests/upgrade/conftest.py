"""These run by themselves, with `make test-upgrade`: they need the history of the repository."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.gateway import ROOT

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return None if any(HERE.name in argument for argument in config.args) else True


@pytest.fixture(scope="session")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the release before: of the commit that FROM names, else of the one before the newest migration."""
    commit = (
        os.environ.get("FROM") or f"{_git('log', '-1', '--format=%H', '--', 'authgate/migrations').decode().strip()}^"
    )
    directory = tmp_path_factory.mktemp("former")
    subprocess.run(["tar", "--extract", "--directory", directory], input=_git("archive", commit), check=True)
    return directory


def _git(*args: str) -> bytes:
    done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, f"git {' '.join(args)}: {done.stderr.decode()}"
    return done.stdout
