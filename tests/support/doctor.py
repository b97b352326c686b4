"""What `manage.py doctor` says of a gateway."""

from __future__ import annotations

import json
from typing import Any

from tests.support import processes
from tests.support.gateway import Gateway


def examine(gateway: Gateway, *args: str, **env: str) -> list[dict[str, Any]]:
    """All findings. `env`: of the command alone."""
    result = processes.run({**gateway.env, **env}, "doctor", "--json", *args)
    report = json.loads(result.stdout)
    assert result.returncode == (1 if report["errors"] else 0), result.stderr
    return report["findings"]


def wrong(findings: list[dict[str, Any]], subject: str) -> dict[str, tuple[str, str]]:
    """By name: the level and the text of what is no good. All of that says what to do. How fast a busy machine is
    while tests run is left out.
    """
    found = [one for one in findings if one["subject"] == subject and one["level"] != "ok"]
    assert all(one["remedy"] for one in found), found
    return {one["name"]: (one["level"], one["text"]) for one in found if one["name"] != "latency"}


def good(findings: list[dict[str, Any]], subject: str) -> dict[str, str]:
    return {one["name"]: one["text"] for one in findings if one["subject"] == subject and one["level"] == "ok"}
