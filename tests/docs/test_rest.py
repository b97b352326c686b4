"""docs/rest.md: each command, run in order, prints what the page prints below it."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests.support.gateway import ROOT
from tests.support.policies import demo_policy

PAGE = (ROOT / "docs" / "rest.md").read_text()
MINT = ".venv/bin/python manage.py mint_token ci --role automation --quiet"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_print_what_the_page_says(start_gateway, upstream, tmp_path):
    policy = demo_policy(upstream.target).replace("roles:", "roles:\n  automation: {admin: api}", 1)
    gateway = start_gateway(policy=policy)
    assert MINT in PAGE
    page = PAGE.replace(MINT, f"echo {gateway.mint('ci', roles=('automation',))}")
    examples = re.findall(
        r"```sh\n(.+?)```\n```json\n(.+?)```", page.replace("https://gateway.example.com", gateway.url), re.S
    )
    assert len(examples) == 8
    commands = "\n".join(f"{command}\necho; echo ====" for command, _ in examples)
    # curl ends no line: each answer begins one.
    commands = commands.replace("\ncurl", "\necho; curl")
    told = subprocess.run(["bash", "-eu", "-c", commands], cwd=tmp_path, capture_output=True, text=True, check=True)
    printed = [[line for line in part.splitlines() if line] for part in told.stdout.split("====")]
    assert printed == [*([line for line in answer.splitlines() if line] for _, answer in examples), []]
