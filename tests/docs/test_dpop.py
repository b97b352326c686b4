"""docs/dpop.md: its client, run as printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.support.gateway import ROOT

PAGE = (ROOT / "docs" / "dpop.md").read_text()
[KEY_AND_TOKEN] = re.findall(r"```sh\n(.+?)```", PAGE, re.DOTALL)
[CLIENT] = re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_client_proves_that_it_has_the_key(start_gateway, tmp_path):
    gateway = start_gateway()
    client = tmp_path / "client.py"
    client.write_text(CLIENT.replace("https://gateway.example.com", gateway.url))
    script = KEY_AND_TOKEN.replace("manage.py", str(ROOT / "manage.py")) + f"TOKEN=$TOKEN .venv/bin/python {client}\n"
    script += 'echo "$TOKEN"\n'
    ran = subprocess.run(
        ["sh", "-eu", "-c", script.replace(".venv/bin/python", sys.executable)],
        cwd=tmp_path, env={**os.environ, **gateway.env}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    said, token = ran.stdout.splitlines()
    assert said in PAGE.partition("it prints")[2].splitlines()[0]
    assert said == "dpop"
    refused = gateway.get("/auth/me", token=token)
    assert (refused.status, refused.json()["reason"]) == (401, "proof_required")
