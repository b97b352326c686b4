from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNUSABLE, SLOW, FAST = 1, 3, 0


def python_of(directory, status, name="python3"):
    """A command that answers gateway_site/interpreter.py with this status."""
    directory.mkdir(exist_ok=True)
    command = directory / name
    command.write_text(f"#!/bin/sh\nexit {status}\n")
    command.chmod(0o755)
    return command


def chosen(*directories):
    # bash is found by its address; of the rest of the path, only dirname is needed.
    tools = directories[0].parent / "tools"
    tools.mkdir(exist_ok=True)
    if not (tools / "dirname").exists():
        (tools / "dirname").symlink_to("/usr/bin/dirname")
    path = ":".join(map(str, [*directories, tools]))
    return subprocess.run(["/bin/bash", ROOT / ".ci/python"], env={"PATH": path}, capture_output=True, text=True)


def test_the_first_python_built_with_optimisation_is_taken(tmp_path):
    python_of(tmp_path / "a b", SLOW)
    python_of(tmp_path / "c", UNUSABLE)
    fast = python_of(tmp_path / "d", FAST, "python3.12")
    python_of(tmp_path / "e", FAST)
    assert chosen(tmp_path / "a b", tmp_path / "c", tmp_path / "e").stdout == f"{tmp_path / 'e' / 'python3'}\n"
    assert chosen(tmp_path / "a b", tmp_path / "c", tmp_path / "d").stdout == f"{fast}\n"


def test_without_one_the_first_that_works_is_taken(tmp_path):
    python_of(tmp_path / "a", UNUSABLE)
    slow = python_of(tmp_path / "b c", SLOW)
    python_of(tmp_path / "d", SLOW)
    assert chosen(tmp_path / "a", tmp_path / "b c", tmp_path / "d").stdout == f"{slow}\n"


def test_without_any_it_says_what_to_install(tmp_path):
    python_of(tmp_path / "a", UNUSABLE)
    answer = chosen(tmp_path / "a")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "Python 3.11 or later" in answer.stderr and "apt install python3-venv" in answer.stderr


@pytest.mark.parametrize("isolated", [["-I"], ["-I", "-S"]], ids=["as setup asks", "without site-packages"])
def test_this_python_answers_for_itself(isolated):
    answer = subprocess.run([sys.executable, *isolated, ROOT / "gateway_site/interpreter.py"], env={"PATH": os.defpath})
    assert answer.returncode in (FAST, SLOW)


def test_manage_py_check_names_a_python_that_was_built_without_optimisation(tmp_path):
    status = subprocess.run([sys.executable, "-I", ROOT / "gateway_site/interpreter.py"]).returncode
    command = [sys.executable, "manage.py", "check", "--tag", "performance"]
    answer = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "AUTHGATE_DATA_DIR": str(tmp_path)}, capture_output=True, text=True
    )
    assert answer.returncode == 0
    assert ("authgate.I073" in answer.stderr + answer.stdout) is (status == SLOW)
